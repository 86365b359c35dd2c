#include "base/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void own_free(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

void own_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

void own_fclose(void *pointer_to_file)
{
    FILE *f = *(FILE **)pointer_to_file;
    if (f)
        (void)fclose(f);
}
