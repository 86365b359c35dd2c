/*
 * Folders of a few plain files: copying one in, and removing all.
 */
#pragma once

#include "base/own.h"

/* The copy is new and on disk when this returns. Negative errno. */
int folder_copy_file(const char *from, const char *to) MUST_USE;
/* Removes the files in it and the folder; what cannot be removed stays. */
void folder_remove(const char *path);
