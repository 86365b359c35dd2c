#include "adapters/revision.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"

#define HEAD_LINE "rootstock-adapter 1\n"
#define BLOCK (1 * MIB)

static const char config_name[] = "adapter_config.json";
static const char tensors_name[] = "adapter_model.safetensors";
static const char gguf_name[] = "adapter.gguf";

/* What trainers save beside an adapter and what tells how its prompts were written: in the order of
 * names, all behind the two above. */
static const char *const prompt_files[] = {
    "added_tokens.json", "chat_template.jinja",     "chat_template.json",
    "merges.txt",        "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model",   "tokenizer_config.json",   "vocab.json",
};
static_assert(ARRAY_LEN(prompt_files) + 2 == REVISION_FILES &&
                  REVISION_FILES <= LIMIT_ADAPTER_FILES,
              "a revision has room for all");

/* ---- finding the files ---- */

static int add_file(struct revision_source *s, const char *name, const char *path,
                    struct fail *reterr)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", path,
                        S_ISREG(st.st_mode) ? "the file is empty" : "not a regular file");
    if ((uint64_t)st.st_size > LIMIT_ADAPTER_BYTES)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: larger than %lu bytes", path,
                        LIMIT_ADAPTER_BYTES);
    s->files[s->n].name = name;
    int n = snprintf(s->files[s->n].path, sizeof(s->files[s->n].path), "%s", path);
    if (n >= (int)sizeof(s->files[s->n].path))
        return -ENAMETOOLONG;
    s->files[s->n].bytes = (uint64_t)st.st_size;
    s->bytes += (uint64_t)st.st_size;
    s->n++;
    return 0;
}

static int join(char ret[static PATH_MAX], const char *folder, const char *name)
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", folder, name);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

struct listing {
    bool config, tensors, pickle;
    bool prompt[ARRAY_LEN(prompt_files)];
    unsigned n_gguf;
    char gguf[256];
};

static int list_folder(struct listing *ret, const char *folder)
{
    DIR *d = opendir(folder);
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));) {
        struct str name = str_of(e->d_name);
        ret->config |= str_is(name, config_name);
        ret->tensors |= str_is(name, tensors_name);
        ret->pickle |= str_is(name, "adapter_model.bin");
        for (size_t i = 0; i < ARRAY_LEN(prompt_files); i++)
            ret->prompt[i] |= str_is(name, prompt_files[i]);
        if (name.p[0] != '.' && str_ends(name, STR(".gguf"))) {
            ret->n_gguf++;
            (void)snprintf(ret->gguf, sizeof(ret->gguf), "%s", e->d_name);
        }
    }
    (void)closedir(d);
    return 0;
}

static int find_in_folder(struct revision_source *s, const char *folder, struct fail *reterr)
{
    struct listing l = { 0 };
    char path[PATH_MAX];
    int r = list_folder(&l, folder);
    if (r < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", folder, strerror(-r));
    if (l.n_gguf && (l.config || l.tensors))
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%.200s: holds both a PEFT adapter and %.60s; keep one", folder, l.gguf);
    if (l.n_gguf > 1)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%.200s: holds several .gguf files; name one", folder);
    if (l.n_gguf)
        return (r = join(path, folder, l.gguf)) < 0 ? r : add_file(s, gguf_name, path, reterr);
    if (!l.config)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%.200s: neither adapter_config.json nor a .gguf file is here", folder);
    if (!l.tensors)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s is not here%s", folder,
                        tensors_name,
                        l.pickle ? "; adapter_model.bin is not read, save it as safetensors" : "");
    if ((r = join(path, folder, config_name)) < 0 ||
        (r = add_file(s, config_name, path, reterr)) != 0)
        return r;
    if ((r = join(path, folder, tensors_name)) < 0 ||
        (r = add_file(s, tensors_name, path, reterr)) != 0)
        return r;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(prompt_files); i++)
        if (l.prompt[i] && (r = join(path, folder, prompt_files[i])) == 0)
            r = add_file(s, prompt_files[i], path, reterr);
    return r;
}

int revision_find(struct revision_source *ret, const char *path, struct fail *reterr)
{
    struct stat st;
    ret->n = 0;
    ret->bytes = 0;
    if (stat(path, &st) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return find_in_folder(ret, path, reterr);
    if (!str_ends(str_of(path), STR(".gguf")))
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%.200s: give a PEFT folder or a .gguf file", path);
    return add_file(ret, gguf_name, path, reterr);
}

/* ---- the digest ---- */

struct hashing {
    progress_fn progress;
    void *ctx;
    uint64_t done, total;
};

static int hash_file(struct hashing *h, const char *path, struct manifest_file *f)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    CLEANUP(own_free) char *block = malloc(BLOCK);
    int r = sha256_new(&s);
    if (r < 0 || !block)
        return r < 0 ? r : -ENOMEM;
    f->bytes = 0;
    for (;;) {
        ssize_t n = read(fd, block, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sha256_add(s, block, (size_t)n);
        f->bytes += (uint64_t)n;
        h->done += (uint64_t)n;
        if (h->progress)
            h->progress(h->ctx, h->done, h->total);
    }
    f->digest = sha256_end(s);
    return 0;
}

int revision_manifest(const struct revision_source *s, progress_fn progress, void *ctx,
                      struct manifest *ret, struct fail *reterr)
{
    struct hashing h = { progress, ctx, 0, s->bytes };
    *ret = (struct manifest){ .n = s->n };
    for (size_t i = 0; i < s->n; i++) { /* revision_find lists them by name */
        struct manifest_file *f = &ret->files[i];
        (void)snprintf(f->name, sizeof(f->name), "%s", s->files[i].name);
        int r = hash_file(&h, s->files[i].path, f);
        if (r == -ENOMEM)
            return r;
        if (r < 0)
            return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", s->files[i].path,
                            strerror(-r));
    }
    return 0;
}

void manifest_print(const struct manifest *m, struct buf *b)
{
    buf_adds(b, HEAD_LINE);
    for (size_t i = 0; i < m->n; i++) {
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &m->files[i].digest);
        buf_addf(b, "%s %" PRIu64 " %s\n", hex, m->files[i].bytes, m->files[i].name);
    }
}

static bool name_ok(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] == '/' || name.p[i] == 0x7f)
            return false;
    return name.n > 0 && name.n < sizeof(((struct manifest_file *)0)->name) && name.p[0] != '.';
}

static int parse_line(struct manifest_file *f, struct str line)
{
    struct str hex, bytes, name;
    if (!str_cut(line, ' ', &hex, &line) || !str_cut(line, ' ', &bytes, &name) ||
        sha256_parse(&f->digest, hex) < 0 ||
        num_parse_u64(&f->bytes, bytes, 1, LIMIT_ADAPTER_BYTES) < 0 || !name_ok(name))
        return -EBADMSG;
    memcpy(f->name, name.p, name.n);
    f->name[name.n] = '\0';
    return 0;
}

struct sha256 manifest_digest(const struct manifest *m)
{
    char room[MANIFEST_MAX];
    size_t n = (size_t)snprintf(room, sizeof(room), "%s", HEAD_LINE);
    for (size_t i = 0; i < m->n; i++) {
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &m->files[i].digest);
        n += (size_t)snprintf(room + n, sizeof(room) - n, "%s %" PRIu64 " %s\n", hex,
                              m->files[i].bytes, m->files[i].name);
    }
    return sha256_of((struct str){ room, n });
}

int manifest_parse(struct manifest *ret, struct str text)
{
    const struct str whole = text;
    struct str line;
    *ret = (struct manifest){ 0 };
    if (text.n > MANIFEST_MAX || !str_starts(text, STR(HEAD_LINE)))
        return -EBADMSG;
    text = str_sub(text, sizeof(HEAD_LINE) - 1);
    while (str_cut(text, '\n', &line, &text)) {
        if (ret->n == LIMIT_ADAPTER_FILES || parse_line(&ret->files[ret->n], line) < 0)
            return -EBADMSG;
        if (ret->n && strcmp(ret->files[ret->n - 1].name, ret->files[ret->n].name) >= 0)
            return -EBADMSG;
        ret->n++;
    }
    if (text.n || ret->n == 0)
        return -EBADMSG;
    /* Capital digits or a leading zero would give one manifest two names. */
    struct sha256 mine = manifest_digest(ret), of_text = sha256_of(whole);
    return sha256_eq(&mine, &of_text) ? 0 : -EBADMSG;
}

uint64_t manifest_bytes(const struct manifest *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n; i++)
        sum += m->files[i].bytes;
    return sum;
}

uint32_t adapters_rank_at(const char *path)
{
    struct revision_source s;
    struct fail why;
    return revision_find(&s, path, &why) == 0 ? revision_rank(&s) : 0;
}
