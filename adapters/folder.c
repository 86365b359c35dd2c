#include "adapters/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"

int folder_copy_file(const char *from, const char *to)
{
    CLEANUP(own_close) int in = open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP(own_close) int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CLEANUP(own_free) char *block = malloc(MIB);
    if (in < 0 || out < 0)
        return -errno;
    if (!block)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(in, block, MIB);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return fsync(out) < 0 ? -errno : 0;
        for (ssize_t at = 0, w; at < n; at += w)
            if ((w = write(out, block + at, (size_t)(n - at))) < 0)
                return -errno;
    }
}

void folder_remove(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(path);
}
