#include "adapters/record.h"

#include <string.h>

enum { RECORD_FIXED = 5, NUMBER_BITS = 7, NUMBER_MORE = 0x80 };

static size_t number_bytes(size_t v)
{
    size_t n = 1;
    while (v >>= NUMBER_BITS)
        n++;
    return n;
}

struct record record_at(unsigned char *p, uint32_t at)
{
    p += at;
    struct record r = { .at = p, .marks = p[RECORD_MARKS] };
    memcpy(&r.base, p, sizeof(r.base));
    size_t i = RECORD_FIXED, n = 0;
    for (unsigned shift = 0;; shift += NUMBER_BITS) {
        n |= (size_t)(p[i] & (NUMBER_MORE - 1)) << shift;
        if (!(p[i++] & NUMBER_MORE))
            break;
    }
    r.name = (struct str){ (const char *)p + i, (size_t)p[2] + 1 };
    r.packed = (struct str){ r.name.p + r.name.n, n };
    r.bytes = i + r.name.n + n + p[4];
    return r;
}

size_t record_bytes(struct str name, struct str packed)
{
    return RECORD_FIXED + number_bytes(packed.n) + name.n + packed.n;
}

void record_write(unsigned char *p, size_t bytes, uint16_t base, struct str name, struct str packed)
{
    memcpy(p, &base, sizeof(base));
    p[2] = (unsigned char)(name.n - 1);
    p[RECORD_MARKS] = 0;
    p[4] = (unsigned char)(bytes - record_bytes(name, packed));
    size_t i = RECORD_FIXED, n = packed.n;
    for (; n >= NUMBER_MORE; n >>= NUMBER_BITS)
        p[i++] = (unsigned char)(n | NUMBER_MORE);
    p[i++] = (unsigned char)n;
    memcpy(p + i, name.p, name.n);
    memcpy(p + i + name.n, packed.p, packed.n);
}
