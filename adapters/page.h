/*
 * The local page: the heads this process knows, by adapter name and base; ten millions of them.
 *
 * Any thread. A head is kept as packed bytes (head_codec.h) behind an eight-byte slot, in one of
 * many stripes, each with a lock that is held for one look-up or one change. An adapter's name
 * finds the adapters of all bases that have one of that name.
 */
#pragma once

#include "adapters/head.h"
#include "base/buf.h"

struct page;

int page_new(struct page **ret) MUST_USE;
struct page *page_free(struct page *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct page *, page_free);

/*
 * Enters or replaces a head (moved: the page owns it even on failure). An older epoch than the one
 * there is dropped, so that two readers of the catalog cannot turn the page back; so is the same
 * epoch with less said. 0, -ENOMEM, or -EMSGSIZE, -EBADMSG for what head_codec.h cannot hold.
 */
int page_put(struct page *p, struct head *h) MUST_USE;
/* The same from packed bytes, which are checked: -EBADMSG. Nothing is unpacked. */
int page_put_packed(struct page *p, struct str base, struct str adapter,
                    struct str packed) MUST_USE;
/* Makes room for as many more, with as many bytes of names and packed heads; they grow without it
 * too. */
void page_reserve(struct page *p, size_t n, size_t bytes);
void page_remove(struct page *p, struct str base, struct str adapter);
/* Removes a head that is not newer than `epoch`. */
void page_remove_until(struct page *p, struct str base, struct str adapter, uint64_t epoch);

/* A part of all names: those whose head_hash (head_codec.h) has these bits: a shard of the catalog.
 * {0, 0}: all of them. */
struct page_part {
    uint64_t mask, value;
};
/*
 * A part is read anew: unsee it; what is put from then on, or named by page_see, is seen, also a
 * head that is dropped for its epoch. What is left over the catalog does not have: the heads up to
 * an epoch are removed, or each is handed out. Readers find everything throughout. One reading at a
 * time for any one name.
 */
void page_unsee(struct page *p, struct page_part part);
void page_see(struct page *p, struct str base, struct str adapter);
size_t page_remove_unseen(struct page *p, struct page_part part, uint64_t until_epoch);
/* `found` gets a head that it borrows, under no lock; ends at its first result that is not 0, and
 * returns it. -ENOMEM. */
int page_each_unseen(struct page *p, struct page_part part, int (*found)(void *ctx, struct head *h),
                     void *ctx) MUST_USE;
/* The catalog began to count anew: accept what it says. */
void page_forget_epochs(struct page *p);

/*
 * The head of a name; base empty: the only one of that adapter name. 0: *ret is a new reference, or
 * NULL when the page has none. FAILED: conflict, several bases have it. -ENOMEM.
 */
int page_find(struct page *p, struct str base, struct str adapter, struct head **ret,
              struct fail *reterr) MUST_USE;

struct page_query {
    struct str after;      /* adapter name; empty: from the first */
    struct str after_base; /* with `after`: behind this base's; empty: behind all of that name */
    struct str prefix;     /* of the adapter's name, tenant and all */
    struct str viewer;     /* a tenant: sees shared adapters and its own; p NULL: the operator */
    size_t max;            /* 0: all */
};
/* Heads in order of adapter name, then base; new references. The first call after many changes
 * sorts the names (half a second for a million), later ones find their place. */
int page_query(struct page *p, const struct page_query *q, struct head ***ret,
               size_t *ret_n) MUST_USE;
/* At most `max` (0: all) heads after the adapter name `after`. */
int page_list(struct page *p, struct str after, size_t max, struct head ***ret,
              size_t *ret_n) MUST_USE;
void page_list_free(struct head **heads, size_t n);
/* Sorts the names now, so that no later query has to; one that fails leaves it to them. */
int page_sort(struct page *p);

size_t page_len(struct page *p);
uint64_t page_changes(struct page *p); /* counts up with every change */
uint64_t page_bytes(struct page *p);   /* of memory behind the heads */

/*
 * For the snapshot: the heads of one of PAGE_STRIPES stripes, as they are at one moment, appended
 * as base number u16, length of the name u16, length of the packed head u32 (little-endian), name,
 * packed head. Errors are the buffer's. A base's number stays what it is.
 */
enum { PAGE_STRIPES = 256 };
/* What spreads names over stripes, chosen at random. A page that takes the seed of the one that was
 * exported before it holds anything enters stripe by stripe, which is faster; nobody else uses it
 * meanwhile. */
uint64_t page_seed(const struct page *p);
void page_take_seed(struct page *p, uint64_t seed);
void page_export(struct page *p, unsigned stripe, struct buf *to, size_t *ret_n);
/* The way back: `numbers` are this page's numbers of the exported base numbers. Counts the heads of
 * `records` and checks them (-EBADMSG), or with `enter` takes what was checked before. */
int page_import(struct page *p, const uint16_t *numbers, size_t n_numbers, struct str records,
                bool enter, size_t *ret_n) MUST_USE;
int page_base_number(struct page *p, struct str base, uint16_t *ret) MUST_USE;
size_t page_n_bases(struct page *p);
struct str page_base(struct page *p, size_t number); /* NUL-terminated, borrowed */
