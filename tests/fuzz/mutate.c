/*
 * Feeds a fuzz target its seed files as they are, then N damaged copies: cut short, bits flipped,
 * bytes overwritten, pieces doubled. Deterministic, so that a failure repeats. A crash ends the
 * program.
 *
 *     TARGET [-n MUTATIONS] FILE|FOLDER…
 */
#include "tests/fuzz/fuzz.h"
#include "tests/support/test.h"

#include "base/file.h"
#include "base/own.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct seed {
    char *p;
    size_t n;
};

static struct seed seeds[512];
static size_t n_seeds;

static void add_file(const char *path)
{
    if (n_seeds == ARRAY_LEN(seeds))
        return;
    struct seed *s = &seeds[n_seeds];
    if (file_read(&s->p, &s->n, path, 64ul << 20) == 0)
        n_seeds++;
}

static void add_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char child[PATH_MAX];
        (void)snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            add_file(child);
    }
    if (dir)
        (void)closedir(dir);
}

/* Where to damage: mostly in the first 4 KiB, where headers are. */
static size_t place(uint64_t *state, size_t n)
{
    size_t near = n < 4096 ? n : 4096;
    return (size_t)(test_random(state) % (test_random(state) % 4 ? near : n));
}

static size_t damage(uint8_t *p, size_t n, uint64_t *state)
{
    static const uint8_t edges[] = { 0x00, 0xff, 0x7f, 0x80, '"', '{', '[', '\n', ':', 0x01 };
    unsigned times = 1 + (unsigned)(test_random(state) % 4);
    for (unsigned i = 0; i < times && n > 1; i++) {
        size_t at = place(state, n);
        switch (test_random(state) % 4) {
        case 0:
            n = at + 1; /* cut */
            break;
        case 1:
            p[at] ^= (uint8_t)(1u << (test_random(state) % 8));
            break;
        case 2:
            p[at] = edges[test_random(state) % ARRAY_LEN(edges)];
            break;
        default: {
            size_t len = 1 + (size_t)(test_random(state) % 16);
            size_t from = place(state, n);
            if (from + len <= n && at + len <= n)
                memmove(p + at, p + from, len);
        }
        }
    }
    return n;
}

static void run_one(const struct seed *s, uint64_t *state)
{
    /* An allocation of its own size: reading one byte past the end is seen. */
    uint8_t *whole = malloc(s->n ? s->n : 1);
    if (!whole)
        abort();
    memcpy(whole, s->p, s->n);
    size_t n = state ? damage(whole, s->n, state) : s->n;
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact)
        abort();
    memcpy(exact, whole, n);
    free(whole);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

int main(int argc, char **argv)
{
    unsigned long mutations = 10000;
    uint64_t state = 1;
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        mutations = strtoul(argv[2], NULL, 10);
        first = 3;
    }
    for (int i = first; i < argc; i++)
        add_path(argv[i]);
    if (n_seeds == 0) {
        (void)printf("1..0 # SKIP no seed file is here\n");
        return EXIT_SUCCESS;
    }
    (void)printf("1..1\n");
    for (size_t i = 0; i < n_seeds; i++)
        run_one(&seeds[i], NULL);
    for (unsigned long i = 0; i < mutations; i++)
        run_one(&seeds[test_random(&state) % n_seeds], &state);
    (void)printf("ok 1 - %zu seeds and %lu mutations end without a crash\n", n_seeds, mutations);
    for (size_t i = 0; i < n_seeds; i++)
        free(seeds[i].p);
    return EXIT_SUCCESS;
}
