/*
 * The files behind revisions, as residency wants them: staged by the catalog, and the blob cache
 * where packed ones are kept, also for a catalog that needs no cache for its own files.
 *
 * Any thread.
 */
#pragma once

#include "adapters/blobs/blobs.h"
#include "adapters/catalog.h"

struct files;

/* Catalog and blobs are borrowed; without a loader nothing is packed. */
int files_new(struct files **ret, struct catalog *catalog, struct blobs *blobs,
              const struct config_adapters *c, const struct adapter_loader *loader) MUST_USE;
struct files *files_free(struct files *f); /* before those; NULL is fine; returns NULL */

struct stager files_stager(struct files *f); /* borrows */
/* disk or cold; the local disk's directories are asked, nothing is read. */
enum residency files_where(struct files *f, const struct adapter_revision *rev);
/* The path of a small file beside the cache. It may not be there, nor the folder: what a process
 * reads before its first load does not open the cache. -ENOENT: none is configured. */
int files_beside(struct files *f, const char *name, char ret[static PATH_MAX]) MUST_USE;
void files_show(struct files *f); /* the gauge of the cache's bytes */
