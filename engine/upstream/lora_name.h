/*
 * What an adapter is called on an engine behind, and where its files are there. Internal to lora.c.
 */
#pragma once

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/upstream/lora.h"

/* `<adapter>.<12 digits>`; of an adapter's name only what every engine takes. */
void lora_name_there(char ret[static LORA_NAME], const struct engine_adapter *a);
/* upstream.lora.path with its words in braces replaced. */
void lora_name_path(struct buf *b, struct str pattern, const char *name,
                    const struct sha256 *digest);
/* The digits in such a name, borrowed; empty: it is none of ours. */
struct str lora_name_digits(const char *name);
/* What an engine said, for a client: with the adapter's own name, and without the folder. */
void lora_name_hide(struct buf *b, struct str said, struct str pattern, const char *name,
                    const struct engine_adapter *a);
