#include "base/file.h"

#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int file_map(struct file_map *ret, const char *path)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size == 0) {
        *ret = (struct file_map){ NULL, 0 };
        return 0;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = (struct file_map){ p, (size_t)st.st_size };
    return 0;
}

void file_unmap(struct file_map *m)
{
    if (m->p)
        (void)munmap((void *)m->p, m->n);
    *m = (struct file_map){ NULL, 0 };
}

int file_read_fd(char **ret, size_t *ret_len, int fd, size_t max_bytes)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(max_bytes + 1);
    for (;;) {
        size_t want = max_bytes + 1 - b.n < 65536 ? max_bytes + 1 - b.n : 65536;
        if (want == 0)
            return -EFBIG;
        char *to = buf_space(&b, want);
        if (!to)
            return buf_err(&b);
        ssize_t n = read(fd, to, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        b.n += (size_t)n;
    }
    char *text = buf_take(&b, ret_len);
    if (!text)
        return -ENOMEM;
    *ret = text;
    return 0;
}

int file_read(char **ret, size_t *ret_len, const char *path, size_t max_bytes)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return file_read_fd(ret, ret_len, fd, max_bytes);
}

static int write_all(int fd, struct str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        s = str_sub(s, (size_t)n);
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof(folder))
        return -ENAMETOOLONG;
    memcpy(folder, path, n);
    folder[n] = '\0';
    CLEANUP(own_close)
    int fd = open(n ? folder : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_draft_begin(struct file_draft *d, const char *path)
{
    static_assert(sizeof(d->path) >= PATH_MAX, "a path fits");
    int n = snprintf(d->beside, sizeof(d->beside), "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof(d->beside))
        return -ENAMETOOLONG;
    memcpy(d->path, path, strlen(path) + 1);
    d->fd = mkostemp(d->beside, O_CLOEXEC);
    return d->fd < 0 ? -errno : 0;
}

int file_draft_add(struct file_draft *d, struct str piece)
{
    return write_all(d->fd, piece);
}

int file_draft_end(struct file_draft *d)
{
    if (fsync(d->fd) < 0 || fchmod(d->fd, 0644) < 0 || rename(d->beside, d->path) < 0)
        return -errno;
    d->beside[0] = '\0';
    return sync_folder_of(d->path);
}

void file_draft_done(struct file_draft *d)
{
    own_close(&d->fd);
    if (d->beside[0])
        (void)unlink(d->beside);
}

int file_replace(const char *path, struct str content)
{
    struct file_draft d;
    int r = file_draft_begin(&d, path);
    if (r < 0)
        return r;
    r = file_draft_add(&d, content);
    if (r == 0)
        r = file_draft_end(&d);
    file_draft_done(&d);
    return r;
}

int file_make_dirs(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(part))
        return n ? -ENAMETOOLONG : -EINVAL;
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -errno;
        part[i] = kept;
    }
    return 0;
}
