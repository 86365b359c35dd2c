/*
 * The local page: the heads this process knows, by adapter name and base.
 *
 * Any thread; one lock, held for a look-up or a swap of one pointer. An adapter's name finds the
 * adapters of all bases that have one of that name.
 */
#pragma once

#include "adapters/head.h"

struct page;

int page_new(struct page **ret) MUST_USE;
struct page *page_free(struct page *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct page *, page_free);

/*
 * Enters or replaces a head (moved: the page owns it even on failure). An older epoch than the one
 * there is dropped, so that two readers of the catalog cannot turn the page back. 0 or -ENOMEM.
 */
int page_put(struct page *p, struct head *h) MUST_USE;
void page_remove(struct page *p, struct str base, struct str adapter);
void page_forget_epochs(struct page *p); /* the catalog began to count anew: accept what it says */

/*
 * The head of a name; base empty: the only one of that adapter name. 0: *ret is a new reference, or
 * NULL when the page has none. FAILED: conflict, several bases have it.
 */
int page_find(struct page *p, struct str base, struct str adapter, struct head **ret,
              struct fail *reterr) MUST_USE;

/* At most `max` (0: all) heads in order of adapter name, then base, after the adapter name `after`;
 * new references. */
int page_list(struct page *p, struct str after, size_t max, struct head ***ret,
              size_t *ret_n) MUST_USE;
void page_list_free(struct head **heads, size_t n);
size_t page_len(struct page *p);
