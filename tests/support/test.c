#include "tests/support/test.h"

#include "base/file.h"
#include "base/own.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char ring[8][PATH_MAX];
static unsigned ring_at;

static char *next_path(void)
{
    return ring[ring_at++ % ARRAY_LEN(ring)];
}

/* cmocka 1.1 prints a skipped case as "not ok N # SKIP", which TAP readers count as a failure. */
static int mend_skips(int from)
{
    FILE *lines = fdopen(from, "r");
    char *line = NULL;
    size_t cap = 0;
    while (lines && getline(&line, &cap, lines) > 0) {
        bool skipped = strncmp(line, "not ok ", 7) == 0 && strstr(line, " # SKIP");
        (void)fputs(skipped ? line + 4 : line, stdout);
        (void)fflush(stdout);
    }
    return 0;
}

static pid_t mender;

static void finish_output(void)
{
    (void)fflush(stdout);
    (void)close(STDOUT_FILENO);
    (void)waitpid(mender, NULL, 0);
}

void test_begin(void)
{
    int ends[2];
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (pipe(ends) < 0 || (mender = fork()) < 0)
        return; /* skipped cases will look like failures, and nothing is hidden */
    if (mender == 0) {
        (void)close(ends[1]);
        _exit(mend_skips(ends[0]));
    }
    (void)dup2(ends[1], STDOUT_FILENO);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)atexit(finish_output);
}

static const char *root(void)
{
    const char *r = getenv("ROOTSTOCK_ROOT");
    return r ? r : ".";
}

const char *test_path(const char *relative)
{
    char *p = next_path();
    (void)snprintf(p, PATH_MAX, "%s/%s", root(), relative);
    return p;
}

const char *test_shared(const char *relative)
{
    const char *shared = getenv("ROOTSTOCK_SHARED");
    char *p = next_path();
    if (shared)
        (void)snprintf(p, PATH_MAX, "%s/%s", shared, relative);
    else
        (void)snprintf(p, PATH_MAX, "%s/../shared/%s", root(), relative);
    return access(p, R_OK) == 0 ? p : NULL;
}

void test_skip_shared(const char *relative)
{
    print_message("# skipped: shared/%s is not here\n", relative);
    skip();
}

static char temp_dirs[64][PATH_MAX];
static unsigned n_temp_dirs;

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void remove_temp_dirs(void)
{
    for (unsigned i = 0; i < n_temp_dirs; i++)
        (void)nftw(temp_dirs[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_temp_dir(void)
{
    assert_true(n_temp_dirs < ARRAY_LEN(temp_dirs));
    if (n_temp_dirs == 0)
        (void)atexit(remove_temp_dirs);
    const char *base = getenv("TMPDIR");
    char *p = temp_dirs[n_temp_dirs++];
    (void)snprintf(p, PATH_MAX, "%s/rootstock-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(p));
    return p;
}

char *test_read(const char *path, size_t *ret_len)
{
    char *text = NULL;
    size_t n = 0;
    int r = file_read(&text, &n, path, 1ul << 30);
    if (r < 0)
        fail_msg("%s: %s", path, strerror(-r));
    if (ret_len)
        *ret_len = n;
    return text;
}

uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
