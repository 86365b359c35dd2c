/*
 * What the files of the façade share (adapters.c, changes.c).
 */
#pragma once

#include "adapters/catalog.h"

struct catalog *adapters_catalog(struct adapters *a);
/* The head of a name, asked for when the page may be old. FAILED: model_not_found and those of the
 * catalog. */
int adapters_head(struct adapters *a, struct str base, struct str adapter, struct head **ret,
                  struct fail *reterr) MUST_USE;
/* The head of what the name means to its viewer, by the page alone: no I/O. 0: *ret is a new
 * reference, or NULL when the page has none. FAILED: conflict. */
int adapters_meant(struct adapters *a, const struct adapter_name *name, struct head **ret,
                   struct fail *reterr) MUST_USE;
