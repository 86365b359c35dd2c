#include "gateway/learning/prefixes.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOT_BITS = 17 }; /* 131,072 blocks: 16 MiB of prompts */

struct prefixes {
    uint64_t slots[1u << SLOT_BITS]; /* 0: empty */
};

/* What is under way of a prompt that comes in pieces. */
struct hasher {
    uint64_t hash;
    char block[PREFIX_BLOCK];
    size_t in_block;
    struct prefix *to;
};

static uint64_t mix(uint64_t x) /* the finaliser of splitmix64 */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void feed(struct hasher *h, struct str text)
{
    while (text.n && h->to->n < PREFIX_BLOCKS) {
        struct str part = str_head(text, PREFIX_BLOCK - h->in_block);
        text = str_sub(text, part.n);
        h->to->bytes += part.n;
        if (part.n < PREFIX_BLOCK) { /* else it is a whole one where it stands */
            memcpy(h->block + h->in_block, part.p, part.n);
            h->in_block += part.n;
            if (h->in_block < PREFIX_BLOCK)
                return;
            h->in_block = 0;
            part.p = h->block;
        }
        h->hash = hash_bytes(part.p, PREFIX_BLOCK, h->hash);
        h->to->blocks[h->to->n++] = h->hash;
    }
}

void prefix_of(struct prefix *ret, const struct chat_request *chat)
{
    struct hasher h;
    h.hash = 0;
    h.in_block = 0;
    h.to = ret;
    ret->n = 0;
    ret->bytes = 0;
    feed(&h, chat->tools_json);
    feed(&h, chat->prompt);
    for (size_t i = 0; i < chat->n_messages && ret->n < PREFIX_BLOCKS; i++) {
        feed(&h, chat->messages[i].role);
        feed(&h, chat->messages[i].content);
    }
}

int prefixes_new(struct prefixes **ret)
{
    *ret = calloc(1, sizeof(struct prefixes));
    return *ret ? 0 : -ENOMEM;
}

struct prefixes *prefixes_free(struct prefixes *p)
{
    free(p);
    return NULL;
}

static uint64_t tag_of(uint64_t owner, uint64_t block)
{
    uint64_t tag = mix(owner ^ block);
    return tag ? tag : 1;
}

static uint64_t slot_of(uint64_t tag)
{
    return tag >> (64 - SLOT_BITS);
}

void prefixes_add(struct prefixes *p, uint64_t owner, const struct prefix *x)
{
    for (uint32_t i = 0; i < x->n; i++) {
        uint64_t tag = tag_of(owner, x->blocks[i]);
        p->slots[slot_of(tag)] = tag;
    }
}

double prefixes_share(const struct prefixes *p, uint64_t owner, const struct prefix *x)
{
    uint32_t n = 0;
    for (; n < x->n; n++) {
        uint64_t tag = tag_of(owner, x->blocks[n]);
        if (p->slots[slot_of(tag)] != tag)
            break;
    }
    return x->bytes ? (double)n * PREFIX_BLOCK / (double)x->bytes : 0;
}
