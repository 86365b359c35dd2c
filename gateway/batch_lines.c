#include "gateway/batch_lines.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "base/sha256.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_ENTRIES = 64 };

static bool fails(struct batch_problem *ret, const char *code, const char *param,
                  const char *message)
{
    *ret = (struct batch_problem){ .code = code, .param = param, .message = message };
    return false;
}

static bool is_id(struct str custom_id)
{
    return json_view_kind(custom_id) == JSON_VIEW_string && custom_id.n > 2 &&
           custom_id.n <= BATCH_CUSTOM_ID;
}

bool batch_line_read(struct batch_line *ret, struct str line, struct str endpoint,
                     struct batch_problem *ret_problem)
{
    struct str url = STR_NULL;
    size_t at = 0;
    if (json_view_check(line, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok ||
        json_view_kind(json_view_value(line)) != JSON_VIEW_object)
        return fails(ret_problem, "invalid_json_line", /* param= */ NULL,
                     "This line is not parseable as valid JSON.");
    ret->custom_id = json_view_get(line, "custom_id");
    ret->body = json_view_get(line, "body");
    if (!is_id(ret->custom_id))
        return fails(ret_problem, "missing_required_parameter", "custom_id",
                     "'custom_id' must be a text of 1 to 510 bytes.");
    if (!json_view_is(json_view_get(line, "method"), "POST"))
        return fails(ret_problem, "invalid_method", "method", "'method' must be \"POST\".");
    struct str given = json_view_get(line, "url");
    if (json_view_kind(given) != JSON_VIEW_string)
        return fails(ret_problem, "missing_required_parameter", "url", "'url' must be given.");
    if (!json_view_plain(given, &url) || !str_eq(url, endpoint))
        return fails(ret_problem, "url_mismatch", "url",
                     "The 'url' of this request is not the batch's endpoint.");
    if (json_view_kind(ret->body) != JSON_VIEW_object)
        return fails(ret_problem, "missing_required_parameter", "body",
                     "'body' must be an object: the request itself.");
    return true;
}

/* Spellings of one text, with escapes or without, are one. */
static uint64_t id_of(struct str custom_id)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT((size_t)BATCH_CUSTOM_ID * 4);
    json_view_add_text(&text, custom_id);
    struct sha256 d = sha256_of(buf_str(&text));
    uint64_t id = 0;
    memcpy(&id, &d, sizeof(id));
    return id;
}

void batch_table_done(struct batch_table *t)
{
    free(t->entries);
    *t = (struct batch_table){ 0 };
}

static void note(struct batch_table *t, const struct batch_problem *p, size_t line)
{
    if (t->n_problems == BATCH_PROBLEMS)
        return;
    t->problems[t->n_problems] = *p;
    t->problems[t->n_problems++].line = line;
}

static void note_file(struct batch_table *t, const char *code, const char *message)
{
    const struct batch_problem p = { .code = code, .message = message };
    note(t, &p, /* line= */ 0);
}

static int add(struct batch_table *t, const struct batch_entry *e)
{
    bool full = t->n == 0 || (t->n >= FIRST_ENTRIES && (t->n & (t->n - 1)) == 0);
    if (full) {
        size_t room = t->n ? t->n * 2 : FIRST_ENTRIES;
        void *more = reallocarray(t->entries, room, sizeof(*e));
        if (!more)
            return -ENOMEM;
        t->entries = more;
    }
    t->entries[t->n++] = *e;
    return 0;
}

struct seen {
    uint64_t id;
    size_t line;
};

static int by_id(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

static int by_line(const void *a, const void *b)
{
    const struct batch_problem *x = a, *y = b;
    return x->line < y->line ? -1 : x->line > y->line;
}

static void note_twice(struct batch_table *t, struct seen *seen)
{
    static const struct batch_problem twice = {
        .code = "duplicate_custom_id",
        .param = "custom_id",
        .message = "The 'custom_id' of this request is that of an earlier one; each must be unique."
    };
    qsort(seen, t->n, sizeof(*seen), by_id);
    for (size_t i = 1; i < t->n; i++)
        if (seen[i].id == seen[i - 1].id)
            note(t, &twice, seen[i].line);
    qsort(t->problems, t->n_problems, sizeof(t->problems[0]), by_line);
}

static struct str next_line(struct str text, size_t at)
{
    struct str rest = str_sub(text, at);
    const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
    return end ? str_head(rest, (size_t)(end - rest.p)) : rest;
}

static int read_lines(struct batch_table *t, struct str text, struct str endpoint,
                      struct seen **seen)
{
    size_t at = str_starts(text, STR("\xef\xbb\xbf")) ? 3 : 0, number = 0;
    while (at < text.n) {
        struct str whole = next_line(text, at), line = str_trim(whole);
        struct batch_line parts;
        struct batch_problem problem;
        number++;
        at += whole.n + 1;
        if (line.n == 0)
            continue;
        if (t->n == BATCH_LINES_MAX) {
            note_file(t, "too_many_tasks", "The file holds more than 50000 requests.");
            return 0;
        }
        bool fits = line.n <= LIMIT_BODY && batch_line_read(&parts, line, endpoint, &problem);
        if (line.n > LIMIT_BODY)
            (void)fails(&problem, "invalid_json_line", /* param= */ NULL, "The line is too long.");
        if (!fits) {
            note(t, &problem, number);
            continue;
        }
        const struct batch_entry e = { .id = id_of(parts.custom_id),
                                       .at = (size_t)(line.p - text.p),
                                       .n = (uint32_t)line.n };
        int err = add(t, &e);
        void *more = err == 0 ? reallocarray(*seen, t->n, sizeof(**seen)) : NULL;
        if (!more)
            return -ENOMEM;
        *seen = more;
        (*seen)[t->n - 1] = (struct seen){ e.id, number };
    }
    return 0;
}

int batch_table_read(struct batch_table *ret, struct str text, struct str endpoint)
{
    CLEANUP(own_free) struct seen *seen = NULL;
    *ret = (struct batch_table){ 0 };
    int err = read_lines(ret, text, endpoint, &seen);
    if (err < 0) {
        batch_table_done(ret);
        return err;
    }
    if (ret->n)
        note_twice(ret, seen);
    if (ret->n == 0 && ret->n_problems == 0)
        note_file(ret, "empty_file", "The file holds no request.");
    return 0;
}

struct str batch_table_line(const struct batch_table *t, size_t i, struct str text)
{
    return str_head(str_sub(text, t->entries[i].at), t->entries[i].n);
}

/* ---- answers ---- */

struct place {
    uint64_t id;
    size_t entry;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

int batch_table_mark(struct batch_table *t, struct str answers, size_t *ret_marked,
                     size_t *ret_whole)
{
    size_t at = 0;
    CLEANUP(own_free) struct place *places = calloc(t->n ? t->n : 1, sizeof(*places));
    *ret_whole = *ret_marked = 0;
    if (!places)
        return -ENOMEM;
    for (size_t i = 0; i < t->n; i++)
        places[i] = (struct place){ t->entries[i].id, i };
    qsort(places, t->n, sizeof(*places), by_place);
    while (at < answers.n) {
        struct str line = next_line(answers, at);
        if (at + line.n == answers.n)
            break; /* no end of a line */
        at += line.n + 1;
        *ret_whole = at;
        struct str id = json_view_get(line, "custom_id");
        const struct place wanted = { .id = is_id(id) ? id_of(id) : 0 };
        const struct place *p = bsearch(&wanted, places, t->n, sizeof(*places), by_place);
        if (!p || t->entries[p->entry].state == ENTRY_done)
            continue;
        t->entries[p->entry].state = ENTRY_done;
        t->n_done++;
        ++*ret_marked;
    }
    return 0;
}

static void add_in_one_line(struct buf *b, struct str json)
{
    for (size_t at = 0; at < json.n;) {
        size_t n = at;
        while (n < json.n && json.p[n] != '\n' && json.p[n] != '\r')
            n++;
        buf_add(b, str_head(str_sub(json, at), n - at));
        if (n < json.n)
            buf_addc(b, ' ');
        at = n + 1;
    }
}

void batch_answer_print(struct buf *b, const struct batch_answer *a)
{
    struct str id = str_of(a->request_id);
    struct str own = str_starts(id, STR("req_")) ? str_sub(id, strlen("req_")) : id;
    buf_adds(b, "{\"id\":");
    buf_adds(b, "\"batch_req_");
    buf_add_json_chars(b, own);
    buf_adds(b, "\",\"custom_id\":");
    buf_add(b, a->custom_id);
    if (a->status) {
        buf_addf(b, ",\"response\":{\"status_code\":%u,\"request_id\":", a->status);
        buf_add_json(b, id);
        buf_adds(b, ",\"body\":");
        add_in_one_line(b, a->body);
        buf_adds(b, "},\"error\":null}\n");
        return;
    }
    buf_adds(b, ",\"response\":null,\"error\":{\"code\":");
    buf_add_json(b, str_of(a->code));
    buf_adds(b, ",\"message\":");
    buf_add_json(b, str_of(a->message));
    buf_adds(b, "}}\n");
}
