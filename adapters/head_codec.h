/*
 * A head as bytes: the value in Redis, the payload of an event, the replica's record and the
 * snapshot's. Pure; any thread.
 *
 * Version 1. Numbers are LEB128 (7 bits a byte, low first, at most 10 bytes) unless a width is
 * given; base and adapter name are not in it, for they are its key.
 *
 *     epoch      u64, big-endian: a script compares and replaces these 8 bytes and no others
 *     form       u8: version << 4 | HEAD_MORE_… bits 0..2 | bit 3: `extra` follows the aliases
 *     n          revisions, by ordinal; each:
 *                  digest 32 bytes · ordinal · created_s · bytes · rank << 1 | has base_id
 *                  [base_id u64, little-endian]
 *     n          aliases, by name; each:
 *                  word << 1 | moved, where word is 0 canary, 1 prev, 2 prod, 3 shadow, or 3 +
 *                  length and the name follows · place · [place before its last move]
 *                  place: the index of a revision, or n and 32 bytes of a digest that is not here
 *     [extra]    u8: bit 0 canary (weight · salt), bit 1 shadow (weight), bit 2 about (length,
 *                description · n examples, each length, text), in this order
 *
 * Nothing follows. One revision that `prod` names is 56 bytes.
 */
#pragma once

#include "adapters/head.h"
#include "base/buf.h"

#define HEAD_EPOCH_BYTES 8
#define HEAD_PACKED_MAX (32 * MIB) /* a card's whole text, and its revisions */

/*
 * Appends the head. `partial`: only what a request without a digest needs: the revisions that prod,
 * prev, canary and shadow name (without `prod` the newest too), these four aliases, and no
 * description or examples; what is left out is said by HEAD_MORE_… bits. Errors are the buffer's.
 */
void head_pack(const struct head *h, bool partial, struct buf *to);

/* 0: *ret is a new reference. -EBADMSG: no such bytes, of another version, or out of bounds.
 * -ENOMEM. */
int head_unpack(struct head **ret, struct str base, struct str adapter, struct str packed) MUST_USE;
int head_packed_check(struct str packed) MUST_USE; /* what head_unpack would return */
uint64_t head_packed_epoch(struct str packed);     /* 0 when shorter than an epoch */
void head_packed_set_epoch(char packed[static HEAD_EPOCH_BYTES], uint64_t epoch);
/* Of an adapter's name: FNV-1a and head_mix, alike for ever, for it says where the adapter lies in
 * the catalog. */
uint64_t head_hash(struct str adapter);
unsigned head_packed_more(struct str packed); /* HEAD_MORE_… bits of checked bytes */
