#include "engine/upstream/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOOK_MS = 1000 };

char *secret_alloc(size_t n)
{
    return calloc(1, n + 1);
}

char *secret_dup(struct str s)
{
    char *p = secret_alloc(s.n);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

char *secret_free(char *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
    free(p);
    return NULL;
}

int secret_buf(struct buf *ret, size_t max)
{
    *ret = BUF_INIT(max);
    char *p = buf_space(ret, max);
    if (p)
        *p = '\0';
    return p ? 0 : -ENOMEM;
}

void secret_buf_done(struct buf *b)
{
    if (b->p)
        OPENSSL_cleanse(b->p, b->cap);
    buf_done(b);
}

/* The whole of a regular file, in memory of its size. */
static int read_file(const char *path, size_t max, char **ret, size_t *ret_n, struct stat *ret_st)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, ret_st) < 0)
        return -errno;
    if (!S_ISREG(ret_st->st_mode))
        return -EINVAL;
    size_t room = (size_t)ret_st->st_size, n = 0;
    if (room == 0 || room > max)
        return room ? -EFBIG : -ENODATA;
    char *text = secret_alloc(room);
    if (!text)
        return -ENOMEM;
    while (n < room) {
        ssize_t got = read(fd, text + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int err = -errno;
            (void)secret_free(text, room);
            return err;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *ret = text;
    *ret_n = room;
    return 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int look(struct secret_file *f)
{
    struct stat st;
    if (stat(f->path, &st) < 0)
        return -errno;
    if (f->text && is_same(&st, &f->seen))
        return 0;
    char *text = NULL;
    size_t n = 0;
    int r = read_file(f->path, f->max, &text, &n, &st);
    if (r != 0)
        return r;
    (void)secret_free(f->text, f->n);
    f->text = text;
    f->n = n;
    f->seen = st;
    return 0;
}

struct str secret_file_get(struct secret_file *f, int *ret_err)
{
    uint64_t now = clock_ms();
    int r = 0;
    if (!f->text || now - f->checked_ms >= LOOK_MS) {
        r = look(f);
        f->checked_ms = now;
    }
    if (ret_err)
        *ret_err = f->text ? 0 : r;
    return (struct str){ f->text, f->text ? strlen(f->text) : 0 };
}

void secret_file_again(struct secret_file *f)
{
    f->checked_ms = 0;
    f->seen = (struct stat){ 0 };
}

void secret_file_done(struct secret_file *f)
{
    f->text = secret_free(f->text, f->n);
    free(f->path);
    f->path = NULL;
}
