#include "router/signals/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/*
 * PCRE2's own match limit counts neither start positions nor the characters that a possessive
 * loop passes, so `\s+\d` over a megabyte of blanks runs for minutes within it. Every pattern is
 * therefore compiled with automatic callouts, and the callout looks at the thread's clock.
 */
enum { HEAP_KIB = 8192, TICKS = 64 };

struct pattern {
    pcre2_code *code;
};

static void *take(PCRE2_SIZE n, void *arena)
{
    return arena_alloc(arena, n);
}

static void leave(void *p, void *arena)
{
    (void)p; /* dies with the arena */
    (void)arena;
}

int pattern_new(struct pattern **ret, struct str source, bool caseless, bool unicode, char *reterr,
                size_t err_bytes)
{
    CLEANUP(pattern_freep) struct pattern *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    uint32_t flags = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY |
                     PCRE2_AUTO_CALLOUT | (caseless ? PCRE2_CASELESS : 0) |
                     (unicode ? PCRE2_UCP : 0);
    int code = 0;
    PCRE2_SIZE at = 0;
    PCRE2_SPTR text = (PCRE2_SPTR)(source.p ? source.p : "");
    p->code = pcre2_compile(text, source.n, flags, &code, &at, NULL);
    if (!p->code && code == PCRE2_ERROR_HEAP_FAILED)
        return -ENOMEM;
    if (!p->code) {
        char why[128] = "";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        (void)snprintf(reterr, err_bytes, "not a regular expression: %s at byte %zu", why, at);
        return -EINVAL;
    }
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it: slower, the same result */
    *ret = TAKE(p);
    return 0;
}

struct pattern *pattern_free(struct pattern *p)
{
    if (p) {
        pcre2_code_free(p->code);
        free(p);
    }
    return NULL;
}

static uint64_t thread_ns(void)
{
    struct timespec t = { 0 };
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int tick(pcre2_callout_block *block, void *data)
{
    (void)block;
    struct pattern_budget *b = data;
    if (++b->ticks % TICKS)
        return 0;
    b->spent = b->spent || thread_ns() >= b->until_ns;
    return b->spent ? PCRE2_ERROR_CALLOUT : 0;
}

static int begin(struct pattern_budget *b)
{
    if (b->spent)
        return -EOVERFLOW;
    if (b->context)
        return 0;
    pcre2_general_context *memory = pcre2_general_context_create(take, leave, b->arena);
    b->data = memory ? pcre2_match_data_create(1, memory) : NULL; /* no groups are wanted */
    b->context = b->data ? pcre2_match_context_create(memory) : NULL;
    if (!b->context)
        return -ENOMEM;
    (void)pcre2_set_heap_limit(b->context, HEAP_KIB);
    (void)pcre2_set_callout(b->context, tick, b);
    b->until_ns = thread_ns() + PATTERN_BUDGET_MS * UINT64_C(1000000);
    return 0;
}

/* The first match at or after `from`: 1, 0, -EOVERFLOW, -ENOMEM. */
static int find(const struct pattern *p, struct str text, size_t from, struct pattern_budget *b)
{
    PCRE2_SPTR s = (PCRE2_SPTR)(text.p ? text.p : "");
    uint32_t flags = PCRE2_NO_UTF_CHECK;
    int r = pcre2_match(p->code, s, text.n, from, flags, b->data, b->context);
    if (r == PCRE2_ERROR_JIT_STACKLIMIT)
        r = pcre2_match(p->code, s, text.n, from, flags | PCRE2_NO_JIT, b->data, b->context);
    if (r >= 0)
        return 1;
    if (r == PCRE2_ERROR_NOMATCH)
        return 0;
    return r == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EOVERFLOW;
}

int pattern_matches(const struct pattern *p, struct str text, struct pattern_budget *budget)
{
    int r = begin(budget);
    return r < 0 ? r : find(p, text, 0, budget);
}

ptrdiff_t pattern_count(const struct pattern *p, struct str text, struct pattern_budget *budget)
{
    int r = begin(budget);
    ptrdiff_t n = 0;
    size_t last = SIZE_MAX; /* end of the last match */
    for (size_t at = 0; r >= 0 && at <= text.n;) {
        r = find(p, text, at, budget);
        if (r <= 0)
            break;
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(budget->data);
        n += span[1] > span[0] || span[0] != last; /* an empty one beside another is none */
        last = span[1];
        at = span[1] > at ? span[1] : at;
        if (span[1] <= span[0]) /* past an empty match */
            at++;
        while (at < text.n && ((unsigned char)text.p[at] & 0xc0) == 0x80)
            at++;
    }
    return r < 0 ? r : n;
}
