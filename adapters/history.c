#include "adapters/history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"

#define HISTORY_MAX (64 * MIB)
#define LINE_MAX_BYTES 4096

static void add_digest(struct buf *b, const char *key, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1] = "";
    if (d)
        sha256_hex(hex, d);
    buf_addf(b, ",\"%s\":\"%s\"", key, hex);
}

uint64_t history_lines(const char *path)
{
    CLEANUP(own_free) char *text = NULL;
    uint64_t lines = 0;
    size_t n;
    if (file_read(&text, &n, path, HISTORY_MAX) < 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

int history_append(const char *path, const struct audit_line *l)
{
    CLEANUP(own_close) int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    CLEANUP(buf_done) struct buf b = BUF_INIT(LINE_MAX_BYTES);
    buf_addf(&b, "{\"epoch\":%" PRIu64 ",\"when\":%" PRIu64 ",\"what\":\"%s\",\"alias\":", l->epoch,
             clock_wall_s(), l->what);
    buf_add_json(&b, l->alias);
    add_digest(&b, "from", l->from);
    add_digest(&b, "to", l->to);
    buf_adds(&b, ",\"who\":");
    buf_add_json(&b, str_head(l->who, LIMIT_NAME));
    if (l->key.n) {
        buf_adds(&b, ",\"key\":");
        buf_add_json(&b, l->key);
    }
    buf_adds(&b, "}\n");
    if (buf_err(&b) < 0)
        return buf_err(&b);
    ssize_t n = write(fd, b.p, b.n); /* one write: readers see whole lines */
    if (n < 0)
        return -errno;
    return (size_t)n == b.n && fsync(fd) == 0 ? 0 : -EIO;
}

static struct str text_of(struct arena *arena, const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_string(v)
               ? arena_str(arena, (struct str){ json_string_value(v), json_string_length(v) })
               : STR("");
}

static bool read_line(struct str line, struct arena *arena, struct adapter_audit *ret)
{
    json_auto_t *j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(j))
        return false;
    json_int_t when = json_integer_value(json_object_get(j, "when"));
    json_int_t epoch = json_integer_value(json_object_get(j, "epoch"));
    *ret = (struct adapter_audit){ .when_s = when > 0 ? (uint64_t)when : 0,
                                   .epoch = epoch > 0 ? (uint64_t)epoch : 0,
                                   .what = text_of(arena, j, "what"),
                                   .alias = text_of(arena, j, "alias"),
                                   .from = text_of(arena, j, "from"),
                                   .to = text_of(arena, j, "to"),
                                   .who = text_of(arena, j, "who") };
    return ret->what.n > 0;
}

int history_read(const char *path, struct arena *arena, struct adapter_audit **ret, size_t *ret_n)
{
    CLEANUP(own_free) char *text = NULL;
    size_t bytes, lines = 0, n = 0;
    int r = file_read(&text, &bytes, path, HISTORY_MAX);
    *ret = NULL;
    *ret_n = 0;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    struct adapter_audit *all = arena_array(arena, lines ? lines : 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    struct str rest = { text, bytes }, line;
    while (str_cut(rest, '\n', &line, &rest))
        n += read_line(line, arena, &all[n]);
    *ret = all;
    *ret_n = n;
    return 0;
}

enum history_word history_previous(const char *path, struct str alias, const struct sha256 *now,
                                   struct sha256 *ret)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(2 * HISTORY_MAX);
    struct adapter_audit *all;
    size_t n;
    if (!arena || history_read(path, arena, &all, &n) < 0)
        return HISTORY_silent;
    while (n > 0) {
        struct sha256 to;
        const struct adapter_audit *a = &all[--n];
        if (!str_eq(a->alias, alias) || str_is(a->what, "publish"))
            continue;
        if (sha256_parse(&to, a->to) < 0 || !sha256_eq(&to, now))
            return HISTORY_silent;
        return sha256_parse(ret, a->from) == 0 ? HISTORY_moved : HISTORY_first;
    }
    return HISTORY_silent;
}

#define DAY_S 86400u

bool history_done(const char *path, struct str key, struct audit_done *ret)
{
    CLEANUP(own_free) char *text = NULL;
    bool found = false;
    size_t bytes;
    if (file_read(&text, &bytes, path, HISTORY_MAX) < 0)
        return false;
    struct str rest = { text, bytes }, line;
    while (str_cut(rest, '\n', &line, &rest)) {
        json_auto_t *j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
        json_int_t when = json_integer_value(json_object_get(j, "when"));
        const char *kept = json_string_value(json_object_get(j, "key"));
        if (!kept || !str_is(key, kept) || (uint64_t)when + DAY_S < clock_wall_s())
            continue;
        const char *to = json_string_value(json_object_get(j, "to"));
        const char *alias = json_string_value(json_object_get(j, "alias"));
        *ret = (struct audit_done){ .epoch =
                                        (uint64_t)json_integer_value(json_object_get(j, "epoch")) };
        ret->has_to = to && sha256_parse(&ret->to, str_of(to)) == 0;
        (void)snprintf(ret->alias, sizeof(ret->alias), "%s", alias ? alias : "");
        found = true;
    }
    return found;
}
