/*
 * Content codings of answers: gzip and deflate (RFC 9110, section 8.4.1), unpacked as they come.
 *
 * We ask for none, so that events are never held back by a compressor; some send them anyway.
 * What is unpacked is told in pieces, and nobody holds more than one: a bomb meets the reader's
 * own bounds, piece by piece.
 */
#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define PIECE_BYTES 16384
/* Beyond both it is an attack: no answer repeats itself so much. */
#define BOMB_BYTES (8 * MIB)
#define BOMB_RATIO 200

struct coding {
    z_stream z;
    size_t taken; /* of the bytes that have to come again */
    uint64_t in, out;
    bool is_deflate; /* whose header some leave out */
    bool begun, is_whole;
};

int coding_new(struct coding **ret, struct str name)
{
    name = str_trim(name);
    *ret = NULL;
    if (!name.n || str_eq_nocase(name, STR("identity")))
        return 0;
    bool is_gzip = str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip"));
    if (!is_gzip && !str_eq_nocase(name, STR("deflate")))
        return -EINVAL;
    struct coding *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    enum { DETECT_HEADER = 32 };
    k->is_deflate = !is_gzip;
    if (inflateInit2(&k->z, MAX_WBITS + DETECT_HEADER) != Z_OK) {
        free(k);
        return -ENOMEM;
    }
    *ret = k;
    return 0;
}

struct coding *coding_free(struct coding *k)
{
    if (k)
        (void)inflateEnd(&k->z);
    free(k);
    return NULL;
}

bool coding_is_whole(const struct coding *k)
{
    return k->is_whole || !k->begun;
}

/* RFC 1950: method 8 in the low bits, and the first two bytes a multiple of 31; a single byte
 * decides by the method alone. */
static bool has_zlib_header(struct str bytes)
{
    enum { METHOD_BITS = 15, METHOD_DEFLATE = 8, CHECK = 31 };
    unsigned first = (unsigned char)bytes.p[0];
    if ((first & METHOD_BITS) != METHOD_DEFLATE)
        return false;
    return bytes.n < 2 || (first * 256 + (unsigned char)bytes.p[1]) % CHECK == 0;
}

static int begin(struct coding *k, struct str bytes)
{
    if (k->begun || !bytes.n)
        return 0;
    k->begun = true;
    if (k->is_deflate && !has_zlib_header(bytes) && inflateReset2(&k->z, -MAX_WBITS) != Z_OK)
        return -EINVAL;
    return 0;
}

/* Unpacks one piece. 0, -EINVAL or -ENOMEM; *ret_n: bytes in `piece`. */
static int one_piece(struct coding *k, unsigned char *piece, size_t *ret_n)
{
    *ret_n = 0;
    if (k->is_whole) { /* another member follows */
        if (inflateReset(&k->z) != Z_OK)
            return -EINVAL;
        k->is_whole = false;
    }
    k->z.next_out = piece;
    k->z.avail_out = PIECE_BYTES;
    int r = inflate(&k->z, Z_SYNC_FLUSH);
    *ret_n = PIECE_BYTES - k->z.avail_out;
    k->out += *ret_n;
    k->is_whole = r == Z_STREAM_END;
    if (r == Z_MEM_ERROR)
        return -ENOMEM;
    return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR ? 0 : -EINVAL;
}

int coding_push(struct coding *k, struct str bytes, struct coding_out out)
{
    unsigned char piece[PIECE_BYTES];
    int r = begin(k, bytes);
    struct str rest = str_sub(bytes, k->taken);
    k->z.next_in = (unsigned char *)(uintptr_t)rest.p; /* zlib only reads them */
    k->z.avail_in = (unsigned)rest.n;
    bool is_full = k->taken > 0; /* more may wait inside */
    while (!r && (k->z.avail_in || is_full)) {
        size_t n, before = k->z.avail_in;
        r = one_piece(k, piece, &n);
        k->in += before - k->z.avail_in;
        is_full = !k->z.avail_out && !k->is_whole;
        if (!r && k->out > BOMB_BYTES && k->out / BOMB_RATIO > k->in)
            r = -EINVAL;
        if (!r && n && !out.tell(out.owner, (struct str){ (char *)piece, n }) &&
            (k->z.avail_in || is_full)) {
            k->taken = bytes.n - k->z.avail_in;
            return -EAGAIN;
        }
    }
    k->taken = 0;
    return r;
}
