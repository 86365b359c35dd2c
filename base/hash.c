#include "base/hash.h"

#include <string.h>

/* wyhash's: odd, with as many ones as zeros in each byte, so that no product of a small number is
 * small. */
#define SECRET_A 0xa0761d6478bd642fu
#define SECRET_B 0xe7037ed1a0b428dbu

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *at = p;
    uint64_t h = seed ^ fold(seed ^ SECRET_A, n ^ SECRET_B), words[2];
    size_t left = n;
    for (; left >= sizeof(words); at += sizeof(words), left -= sizeof(words)) {
        memcpy(words, at, sizeof(words));
        h = fold(words[0] ^ SECRET_A, words[1] ^ h);
    }
    if (left) {
        words[0] = words[1] = 0;
        memcpy(words, at, left);
        h = fold(words[0] ^ SECRET_A, words[1] ^ h);
    }
    return fold(h ^ SECRET_B, n ^ SECRET_A);
}
