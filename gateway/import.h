/*
 * Import: what is looked at before an adapter is published. Which folders of this machine an HTTP
 * client may publish from; whether the adapter fits its base.
 */
#pragma once

#include "base/arena.h"
#include "base/fail.h"
#include "config/config.h"

/*
 * The real path of what the client names, in the arena: a folder or a file in one of
 * gateway.import_folders, however it is linked to; a relative path is against the first of them.
 * Blocks. FAILED: permission_denied outside of them; not_found where there is nothing.
 */
int import_path(const struct config_gateway *g, struct str path, struct arena *arena,
                const char **ret, struct fail *reterr) MUST_USE;

/*
 * Whether what is at `path` fits the base model, where its file is on this machine: shapes, and
 * every field that changes what it computes. *ret_checked: it is. Of a base that engines behind
 * serve only its rank is compared. Blocks. FAILED (unprocessable_adapter): names the file and the
 * field.
 */
int import_check(const struct config *c, struct str base, const char *path, bool *ret_checked,
                 struct fail *reterr) MUST_USE;
