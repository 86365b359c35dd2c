#include "gateway/batch.h"

#include "base/clock.h"
#include "base/json_view.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/batch_lines.h"
#include "gateway/detached.h"
#include "gateway/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    POLL_MS = 20,        /* how often load is looked at while there is something to do */
    IDLE_MS = 60 * 1000, /* … and the clock where there is nothing */
    OPEN_MAX = 64,       /* batches whose tables are held at once */
    SLOTS_MAX = 256,     /* lines under way; gateway.batches.concurrency may not exceed it */
    BUSY_POLLS = 2,      /* that long somebody waits before a line is given up */
    CUTS_MAX = 3,        /* of one line: then it is let through */
    TRIES_MAX = 12,      /* of one that is answered 429 or 503 */
    BACK_OFF_MS = 500,   /* after the first of them; doubles */
    BACK_OFF_MAX_MS = 30 * 1000,
    KEY = BATCH_ID + 24,
};

enum { OUTPUT, ERRORS, OUTPUTS };

struct batch_run {
    struct file_map input;
    struct batch_table table;
    int fds[OUTPUTS];
    size_t next, n_running; /* no line before `next` is to be asked */
    uint64_t not_before_ms;
};

struct slot {
    struct request *request; /* NULL: free; borrowed, until it has ended */
    struct batch *batch;
    size_t entry;
    uint64_t since_ms;
    char key[KEY];
    bool cut; /* what it answers does not count */
};

struct batches {
    struct server *server;     /* borrowed, and so is */
    struct batch_store *store; /* its lock is that of all here */
    pthread_mutex_t io;        /* of writing answers; nests outside */
    pthread_cond_t changed;
    pthread_t thread;
    bool runs, stopping, draining, is_woken;
    struct slot slots[SLOTS_MAX];
    size_t n_slots, concurrency, n_open;
    struct batch *turn; /* whose line was asked last */
    unsigned busy;      /* polls that found somebody waiting */
    uint64_t sweep_ms;
};

static struct str view(const struct file_map *m)
{
    return (struct str){ (const char *)m->p, m->n };
}

static struct str line_of(const struct batch *b, size_t entry)
{
    return batch_table_line(&b->run->table, entry, view(&b->run->input));
}

/* It was read before, as a whole. */
static struct batch_line parts_of(const struct batch *b, size_t entry)
{
    struct batch_line parts = { 0 };
    struct batch_problem ignored;
    if (!batch_line_read(&parts, line_of(b, entry), str_of(b->endpoint), &ignored))
        parts = (struct batch_line){ 0 };
    return parts;
}

/* ---- a batch begins ---- */

static void close_run(struct batches *a, struct batch *b)
{
    struct batch_run *run;
    {
        LOCKED(&a->store->lock);
        run = TAKE(b->run);
    }
    if (!run)
        return;
    for (size_t i = 0; i < OUTPUTS; i++)
        if (run->fds[i] >= 0)
            own_close(&run->fds[i]);
    file_unmap(&run->input);
    batch_table_done(&run->table);
    free(run);
    a->n_open--;
}

static void save(struct batches *a, const struct batch *b)
{
    static struct log_rate rate;
    int err = batch_save(a->store, b);
    if (err < 0)
        log_rated(&rate, LOG_error, "batches", "batch=%s saving it: %s", b->id, strerror(-err));
}

static void set_status(struct batches *a, struct batch *b, enum batch_status status)
{
    {
        LOCKED(&a->store->lock);
        b->status = status;
        b->at[status] = clock_wall_s();
    }
    save(a, b);
    log_line(LOG_info, "batches", "batch=%s status=%s", b->id, batch_status_word(status));
}

static void print_problem(struct buf *b, const struct batch_problem *p)
{
    buf_addf(b, "%s{\"code\":\"%s\",\"message\":", b->n > 1 ? "," : "", p->code);
    buf_add_json(b, str_of(p->message));
    buf_addf(b, p->param ? ",\"param\":\"%s\"" : ",\"param\":null", p->param);
    if (p->line)
        buf_addf(b, ",\"line\":%zu}", p->line);
    else
        buf_adds(b, ",\"line\":null}");
}

static void fail_with(struct batches *a, struct batch *b, const struct batch_problem *problems,
                      size_t n)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(BATCH_ERRORS_MAX);
    buf_addc(&text, '[');
    for (size_t i = 0; i < n; i++)
        print_problem(&text, &problems[i]);
    buf_addc(&text, ']');
    char *errors = buf_err(&text) == 0 ? str_dup(buf_str(&text)) : NULL;
    {
        LOCKED(&a->store->lock);
        free(b->errors);
        b->errors = errors;
    }
    set_status(a, b, BATCH_failed);
}

/* Where the answers of an earlier process end, and which there are. */
static int open_output(struct batches *a, struct batch *b, size_t which, const char *id)
{
    char path[PATH_MAX];
    struct file_map there = { 0 };
    struct batch_run *run = b->run;
    size_t marked = 0, whole = 0;
    int err = batch_path(a->store, path, sizeof(path), id, "jsonl");
    if (err < 0)
        return err;
    run->fds[which] = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    err = run->fds[which] < 0 ? -errno : file_map(&there, path);
    if (err < 0)
        return err;
    err = batch_table_mark(&run->table, view(&there), &marked, &whole);
    bool is_cut = err == 0 && whole < there.n;
    file_unmap(&there);
    if (is_cut && ftruncate(run->fds[which], (off_t)whole) < 0)
        err = -errno;
    LOCKED(&a->store->lock);
    *(which == OUTPUT ? &b->completed : &b->failed) = marked;
    return err;
}

static int open_outputs(struct batches *a, struct batch *b)
{
    {
        LOCKED(&a->store->lock);
        if (!b->output[0])
            batch_make_id(b->output, "file-");
        if (!b->error[0])
            batch_make_id(b->error, "file-");
        b->total = b->run->table.n;
        if (b->status == BATCH_validating) {
            b->status = BATCH_in_progress;
            b->at[BATCH_in_progress] = clock_wall_s();
        }
    }
    int err = batch_save(a->store, b);
    if (err == 0)
        err = open_output(a, b, OUTPUT, b->output);
    return err == 0 ? open_output(a, b, ERRORS, b->error) : err;
}

static int read_input(struct batches *a, const struct batch *b, struct batch_run *run)
{
    char path[PATH_MAX];
    int err = batch_path(a->store, path, sizeof(path), b->input, "jsonl");
    if (err == 0)
        err = file_map(&run->input, path);
    return err == 0 ? batch_table_read(&run->table, view(&run->input), str_of(b->endpoint)) : err;
}

static void open_run(struct batches *a, struct batch *b)
{
    static const struct batch_problem gone = { .code = "file_not_found",
                                               .param = "input_file_id",
                                               .message = "The input file is not there any more." };
    static const struct batch_problem broken = { .code = "server_error",
                                                 .message = "The files of this batch cannot be "
                                                            "read or written." };
    struct batch_run *run = calloc(1, sizeof(*run));
    if (!run)
        return; /* the next look tries again */
    for (size_t i = 0; i < OUTPUTS; i++)
        run->fds[i] = -1;
    int err = read_input(a, b, run);
    {
        LOCKED(&a->store->lock);
        b->run = run;
    }
    a->n_open++;
    if (err == 0 && run->table.n_problems) {
        fail_with(a, b, run->table.problems, run->table.n_problems);
        close_run(a, b);
        return;
    }
    if (err == 0)
        err = open_outputs(a, b);
    if (err < 0) {
        log_line(LOG_warn, "batches", "batch=%s cause=%s", b->id, strerror(-err));
        if (err != -ENOMEM)
            fail_with(a, b, err == -ENOENT ? &gone : &broken, 1);
        close_run(a, b);
    }
}

/* ---- … and ends ---- */

static int keep_output(struct batches *a, struct batch *b, size_t which, uint64_t n)
{
    char name[BATCH_ID + 16], path[PATH_MAX];
    const char *id = which == OUTPUT ? b->output : b->error;
    uint64_t now = clock_wall_s();
    struct fail ignored;
    bool is_there;
    {
        LOCKED(&a->store->lock);
        is_there = batch_find_file(a->store, str_of(id), b->owner) != NULL;
    }
    if (is_there)
        return 0;
    int err = batch_path(a->store, path, sizeof(path), id, "jsonl");
    if (err == 0 && n == 0)
        (void)unlink(path);
    if (err < 0 || n == 0)
        return err;
    (void)snprintf(name, sizeof(name), "%s_%s.jsonl", b->id, which == OUTPUT ? "output" : "error");
    struct stored_file f = { .purpose = "batch_output",
                             .filename = name,
                             .created_s = now,
                             .expires_s = now + a->store->ttl_s };
    memcpy(f.id, id, sizeof(f.id));
    memcpy(f.owner, b->owner, sizeof(f.owner));
    if (fsync(b->run->fds[which]) < 0)
        return -errno;
    return batch_keep_file(a->store, &f, &ignored);
}

static void finish(struct batches *a, struct batch *b, enum batch_status status)
{
    static struct log_rate rate;
    uint64_t completed, failed;
    bool is_new;
    {
        LOCKED(&a->store->lock);
        is_new = status != BATCH_cancelled && b->status == BATCH_in_progress;
        completed = b->completed;
        failed = b->failed;
    }
    if (is_new)
        set_status(a, b, BATCH_finalizing);
    int err = keep_output(a, b, OUTPUT, completed);
    if (err == 0)
        err = keep_output(a, b, ERRORS, failed);
    if (err != 0) {
        log_rated(&rate, LOG_error, "batches", "batch=%s its answers: %s, trying again", b->id,
                  err < 0 ? strerror(-err) : "refused");
        return;
    }
    close_run(a, b);
    set_status(a, b, status);
}

/* ---- an answer ---- */

static int add_answer(struct batches *a, int fd, const struct buf *line)
{
    LOCKED(&a->io);
    struct stat st;
    int err = buf_err(line);
    if (err == 0 && fstat(fd, &st) < 0)
        err = -errno;
    for (size_t at = 0; err == 0 && at < line->n;) {
        ssize_t n = write(fd, line->p + at, line->n - at);
        if (n < 0 && errno != EINTR) {
            err = -errno;
            (void)ftruncate(fd, st.st_size); /* no half line */
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return err;
}

/* It counts from now on. */
static int take_answer(struct batches *a, struct batch *b, size_t entry,
                       const struct batch_answer *answer)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(LIMIT_REQUEST_ARENA);
    size_t which = answer->status && answer->status < 400 ? OUTPUT : ERRORS;
    batch_answer_print(&line, answer);
    int err = add_answer(a, b->run->fds[which], &line);
    if (err < 0)
        return err;
    LOCKED(&a->store->lock);
    b->run->table.entries[entry].state = ENTRY_done;
    b->run->table.n_done++;
    ++*(which == OUTPUT ? &b->completed : &b->failed);
    return 0;
}

/* Under the lock: asked again, after a while where it was refused. */
static void again(struct batch *b, size_t entry, bool backs_off)
{
    struct batch_entry *e = &b->run->table.entries[entry];
    e->state = ENTRY_todo;
    e->tries++;
    if (entry < b->run->next)
        b->run->next = entry;
    if (!backs_off)
        return;
    unsigned shift = e->tries < 8 ? e->tries : 8;
    uint64_t wait = (uint64_t)BACK_OFF_MS << shift;
    b->run->not_before_ms = clock_ms() + (wait < BACK_OFF_MAX_MS ? wait : BACK_OFF_MAX_MS);
}

static struct slot *slot_of(struct batches *a, const struct request *r)
{
    for (size_t i = 0; i < SLOTS_MAX; i++)
        if (a->slots[i].request == r)
            return &a->slots[i];
    return NULL;
}

/* Under the lock. */
static void free_slot(struct batches *a, struct slot *s)
{
    s->batch->run->n_running--;
    s->request = NULL;
    a->n_slots--;
    a->is_woken = true;
    (void)pthread_cond_signal(&a->changed);
}

/* Worker, or our thread: it has ended, whole or not. */
static void line_ended(struct request *r, struct buf *last)
{
    static struct log_rate rate;
    static const char broken[] =
        "{\"error\":{\"message\":\"the request was not finished\",\"type\":\"api_error\","
        "\"param\":null,\"code\":\"internal_error\"}}";
    (void)last;
    struct batches *a = server_batches(r->server);
    struct slot *s;
    bool cut, waits;
    {
        LOCKED(&a->store->lock);
        s = slot_of(a, r);
        const struct batch_entry *e = &s->batch->run->table.entries[s->entry];
        unsigned status = r->reply.status;
        cut = s->cut || flow_ended(&r->flow) == FLOW_shutdown;
        waits = (status == 429 || status == 503) && e->tries < TRIES_MAX;
    }
    int err = 0;
    if (!cut && !waits) {
        const struct batch_line parts = parts_of(s->batch, s->entry);
        const struct batch_answer answer = {
            .custom_id = parts.custom_id,
            .request_id = r->id,
            .status = r->reply.status ? r->reply.status : 500,
            .body = r->reply.status ? buf_str(&r->reply.body) : str_of(broken),
        };
        err = take_answer(a, s->batch, s->entry, &answer);
    }
    if (err < 0)
        log_rated(&rate, LOG_error, "batches", "batch=%s writing an answer: %s, trying again",
                  s->batch->id, strerror(-err));
    LOCKED(&a->store->lock);
    if (cut || waits || err < 0)
        again(s->batch, s->entry, /* backs_off= */ !cut);
    free_slot(a, s);
}

/* ---- a line ---- */

static enum next refuse_stream(struct request *r)
{
    struct fail fail;
    (void)fail_param(&fail, FAIL_unsupported_parameter, "stream",
                     "'stream' is not served in a batch: its answers come as a file");
    return reply_fail(r, &fail);
}

static int fill_request(struct request *r, const struct batch *b, const struct batch_line *line)
{
    struct api_match found;
    struct fail ignored;
    uint64_t timeout_ms = r->state->config->gateway.request_timeout_ms;
    struct str endpoint = arena_str(r->arena, str_of(b->endpoint));
    if (!endpoint.p)
        return -ENOMEM;
    int err = api_find(&found, endpoint, "POST", r->arena, &ignored);
    if (err != 0)
        return err == FAILED ? -EINVAL : err;
    r->endpoint = found.endpoint;
    r->errors = found.endpoint->errors ? found.endpoint->errors : &error_openai;
    r->caller.key = b->key;
    if (b->tenant)
        r->caller.tenant = arena_str(r->arena, str_of(b->tenant));
    if (b->tenant && !r->caller.tenant.p)
        return -ENOMEM;
    if (timeout_ms)
        r->deadline_ms = clock_ms() + timeout_ms;
    r->body = BUF_INIT(r->state->config->gateway.body_bytes);
    buf_add(&r->body, line->body);
    bool streams = json_view_true(json_view_get(line->body, "stream"));
    r->step = streams ? refuse_stream : found.endpoint->run;
    return buf_err(&r->body);
}

/* NULL: the server goes, or there is no memory. */
static struct request *new_request(struct batches *a)
{
    CLEANUP(state_unrefp) struct state *state = server_state(a->server);
    LOCKED(&a->store->lock);
    return a->draining ? NULL : server_request(a->server, state);
}

static void give_up(struct batches *a, struct slot *s)
{
    LOCKED(&a->store->lock);
    again(s->batch, s->entry, /* backs_off= */ true);
    free_slot(a, s);
}

static void ask(struct batches *a, struct slot *s)
{
    struct request *r = new_request(a);
    const struct batch_line line = parts_of(s->batch, s->entry);
    int err = r ? fill_request(r, s->batch, &line) : -ENOMEM;
    if (err < 0) {
        if (r) {
            server_depart(r, /* complete= */ false);
            request_unref(r);
        }
        give_up(a, s);
        return;
    }
    {
        LOCKED(&a->store->lock);
        s->request = r;
    }
    const struct detached_task task = { .key = s->key, .ended = line_ended, .unread = true };
    err = detached_start(server_detached(a->server), r, &task);
    if (err < 0)
        give_up(a, s);
}

/* ---- whose turn it is ---- */

/* Under the lock. */
static bool has_line(struct batch *b, uint64_t now_ms)
{
    struct batch_run *run = b->run;
    if (!run || b->status != BATCH_in_progress || b->expires_s <= clock_wall_s() ||
        run->not_before_ms > now_ms)
        return false;
    while (run->next < run->table.n && run->table.entries[run->next].state != ENTRY_todo)
        run->next++;
    return run->next < run->table.n;
}

/* Under the lock: the batch behind the one that had its turn last. */
static struct batch *next_batch(struct batches *a)
{
    struct batch *from = a->turn ? TAILQ_NEXT(a->turn, next) : NULL;
    uint64_t now = clock_ms();
    struct batch *b = from ? from : TAILQ_FIRST(&a->store->batches);
    for (size_t i = 0; i <= a->store->n_batches && b; i++) {
        if (has_line(b, now))
            return b;
        b = TAILQ_NEXT(b, next);
        b = b ? b : TAILQ_FIRST(&a->store->batches);
    }
    return NULL;
}

static struct slot *take_line(struct batches *a)
{
    static struct request reserved; /* until there is a request */
    LOCKED(&a->store->lock);
    struct batch *b = a->draining ? NULL : next_batch(a);
    struct slot *s = b ? slot_of(a, /* r= */ NULL) : NULL;
    if (!s)
        return NULL;
    *s = (struct slot){
        .batch = b, .entry = b->run->next, .request = &reserved, .since_ms = clock_ms()
    };
    (void)snprintf(s->key, sizeof(s->key), "%s/%zu", b->id, s->entry);
    b->run->table.entries[s->entry].state = ENTRY_running;
    b->run->n_running++;
    a->n_slots++;
    a->turn = b;
    return s;
}

static size_t lines_under_way(struct batches *a)
{
    LOCKED(&a->store->lock);
    return a->n_slots;
}

/* How many lines may be under way now; *ret_waiting: somebody waits who is no line of ours (each is
 * at least one sequence). */
static size_t room(struct batches *a, bool *ret_waiting)
{
    size_t running = 0, waiting = 0, own = lines_under_way(a);
    CLEANUP(state_unrefp) struct state *state = server_state(a->server);
    for (size_t i = 0; i < state->core->n_models; i++) {
        size_t n = 0, m = 0;
        (void)engine_load(state->core->models[i].engine, &n, &m);
        running += n;
        waiting += m;
    }
    size_t others = running > own ? running - own : 0;
    *ret_waiting = waiting > 0 && running + waiting > own;
    if (waiting || others >= a->concurrency)
        return 0;
    return others ? 1 : a->concurrency;
}

/* The youngest line gives way; others wait for it. */
static void make_room(struct batches *a)
{
    char key[KEY] = "";
    {
        LOCKED(&a->store->lock);
        struct slot *young = NULL;
        for (size_t i = 0; i < SLOTS_MAX; i++) {
            struct slot *s = &a->slots[i];
            bool may =
                s->request && !s->cut && s->batch->run->table.entries[s->entry].tries < CUTS_MAX;
            if (may && (!young || s->since_ms >= young->since_ms))
                young = s;
        }
        if (young) {
            young->cut = true;
            memcpy(key, young->key, sizeof(key));
        }
    }
    if (key[0])
        (void)detached_cancel(server_detached(a->server), key);
}

static void ask_lines(struct batches *a)
{
    bool waiting = false;
    for (size_t max = room(a, &waiting); lines_under_way(a) < max; max = room(a, &waiting)) {
        struct slot *s = take_line(a);
        if (!s)
            break;
        ask(a, s);
    }
    a->busy = waiting && lines_under_way(a) ? a->busy + 1 : 0;
    if (a->busy >= BUSY_POLLS) {
        a->busy = 0;
        make_room(a);
    }
}

/* ---- the clock ---- */

static void cut_all(struct batches *a, const struct batch *b)
{
    for (;;) {
        char key[KEY] = "";
        {
            LOCKED(&a->store->lock);
            for (size_t i = 0; i < SLOTS_MAX && !key[0]; i++)
                if (a->slots[i].request && a->slots[i].batch == b && !a->slots[i].cut) {
                    a->slots[i].cut = true;
                    memcpy(key, a->slots[i].key, sizeof(key));
                }
        }
        if (!key[0])
            return;
        (void)detached_cancel(server_detached(a->server), key);
    }
}

/* Lines that nobody asked in time have errors of their own. */
static int expire_lines(struct batches *a, struct batch *b)
{
    struct batch_table *t = &b->run->table;
    int err = 0;
    for (size_t i = 0; i < t->n && err == 0; i++) {
        char id[BATCH_ID];
        if (t->entries[i].state == ENTRY_done)
            continue;
        batch_make_id(id, "req_");
        const struct batch_answer answer = {
            .custom_id = parts_of(b, i).custom_id,
            .request_id = id,
            .code = "batch_expired",
            .message = "This request could not be executed before the completion window expired."
        };
        err = take_answer(a, b, i, &answer);
    }
    return err;
}

static void advance(struct batches *a, struct batch *b)
{
    bool never_began = false, is_cancelled = false, is_open = false;
    {
        LOCKED(&a->store->lock);
        is_open = b->run != NULL;
        is_cancelled = b->status == BATCH_cancelling;
        never_began = !is_open && !b->output[0];
    }
    if (is_cancelled && never_began) {
        set_status(a, b, BATCH_cancelled);
        return;
    }
    if (!is_open && a->n_open < OPEN_MAX)
        open_run(a, b);
    if (!b->run) /* ours to set */
        return;
    bool is_late = b->expires_s <= clock_wall_s();
    if (is_cancelled || is_late)
        cut_all(a, b);
    size_t n_running, n_left;
    {
        LOCKED(&a->store->lock);
        n_running = b->run->n_running;
        n_left = b->run->table.n - b->run->table.n_done;
    }
    if (n_running)
        return;
    if (is_cancelled)
        finish(a, b, BATCH_cancelled);
    else if (n_left == 0)
        finish(a, b, BATCH_completed);
    else if (is_late && expire_lines(a, b) == 0)
        finish(a, b, BATCH_expired);
}

/* The next that has not ended; only this thread takes batches away. */
static struct batch *next_open(struct batches *a, struct batch *after)
{
    LOCKED(&a->store->lock);
    struct batch *b = after ? TAILQ_NEXT(after, next) : TAILQ_FIRST(&a->store->batches);
    while (b && batch_has_ended(b))
        b = TAILQ_NEXT(b, next);
    return b;
}

static void sweep(struct batches *a)
{
    uint64_t now = clock_ms();
    if (now < a->sweep_ms)
        return;
    a->sweep_ms = now + IDLE_MS;
    a->turn = NULL;
    batch_sweep(a->store, clock_wall_s());
}

static void *batches_main(void *arg)
{
    struct batches *a = arg;
    for (;;) {
        bool works = false;
        sweep(a);
        for (struct batch *b = next_open(a, NULL); b; b = next_open(a, b)) {
            advance(a, b);
            works = true;
        }
        ask_lines(a);
        uint64_t until = clock_ms() + (works ? POLL_MS : IDLE_MS);
        LOCKED(&a->store->lock);
        while (!a->stopping && !a->is_woken &&
               thread_cond_wait_until(&a->changed, &a->store->lock, until) != -ETIMEDOUT) {
        }
        a->is_woken = false;
        if (a->stopping)
            return NULL;
    }
}

/* ---- life ---- */

struct batch_store *batches_store(struct batches *b)
{
    return b->store;
}

void batches_wake(struct batches *b)
{
    LOCKED(&b->store->lock);
    b->is_woken = true;
    (void)pthread_cond_signal(&b->changed);
}

void batches_drain(struct batches *b)
{
    if (!b)
        return;
    LOCKED(&b->store->lock);
    b->draining = true;
}

int batches_new(struct batches **ret, struct server *s, const struct config_batches *c,
                struct fail *reterr)
{
    CLEANUP(batches_freep) struct batches *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->server = s;
    a->concurrency = c->concurrency < SLOTS_MAX ? (size_t)c->concurrency : SLOTS_MAX;
    (void)pthread_mutex_init(&a->io, /* attr= */ NULL);
    int err = thread_cond_init(&a->changed);
    if (err == 0)
        err = batch_store_new(&a->store, c, reterr);
    if (err == 0)
        *ret = TAKE(a);
    return err;
}

int batches_begin(struct batches *b)
{
    int err = thread_start(&b->thread, THREAD_worker, batches_main, b);
    b->runs = err == 0;
    return err;
}

struct batches *batches_free(struct batches *b)
{
    if (!b)
        return NULL;
    if (b->runs) {
        {
            LOCKED(&b->store->lock);
            b->stopping = true;
            (void)pthread_cond_signal(&b->changed);
        }
        (void)pthread_join(b->thread, /* result= */ NULL);
    }
    for (struct batch *x = b->store ? TAILQ_FIRST(&b->store->batches) : NULL; x;
         x = TAILQ_NEXT(x, next))
        close_run(b, x);
    (void)batch_store_free(b->store);
    (void)pthread_cond_destroy(&b->changed);
    (void)pthread_mutex_destroy(&b->io);
    free(b);
    return NULL;
}
