#include "adapters/redis_link.h"

#include "adapters/redis_streams.h"
#include "adapters/redis_topology.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/thread.h"

#define ROUNDS 12          /* of one call, while servers say that a slot or the master has moved */
#define SETTLE_MS 20u      /* the first pause of a call for servers that are not settled */
#define SETTLE_MAX_MS 320u /* the longest */
#define PIPELINE 1024      /* commands sent before replies are awaited */
#define DIGEST_CHARS 40

struct redis_link {
    pthread_mutex_t turn; /* held for one exchange: the connections are what it protects */
    struct redis_topology topology;
    struct redis_lanes *lanes;
    _Atomic bool up, interrupted;
};

/* ---- batches: what one call wants done ---- */

enum job_state { JOB_todo, JOB_with_text, JOB_done };
struct job {
    struct redis_node *node;
    unsigned char state; /* enum job_state; with_text: the server does not have the script */
    bool sent;           /* in this round */
};

/* Either commands, or runs of a script: n_each of argv for each. */
struct batch {
    const struct redis_command *commands;
    const struct redis_script *script;
    const struct str *argv;
    size_t n_each;
    struct redis_node *only; /* all go there; NULL: by their keys */
    size_t n;
    struct job *jobs;
    redisReply **ret;
    char digest[DIGEST_CHARS + 1];
    bool settle; /* a reply of this round asked for patience */
};

static void script_digest(const char *text, char ret[static DIGEST_CHARS + 1]) /* SHA-1 */
{
    unsigned char d[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int ok = EVP_Digest(text, strlen(text), d, &len, EVP_sha1(), NULL);
    assert(ok == 1 && len * 2 == DIGEST_CHARS);
    (void)ok;
    for (unsigned i = 0; i < len; i++)
        (void)snprintf(ret + (size_t)2 * i, 3, "%02x", d[i]);
}

static struct str key_of_job(const struct batch *b, size_t i)
{
    if (b->script)
        return b->script->n_keys ? b->argv[i * b->n_each] : STR("");
    const struct redis_command *c = &b->commands[i];
    return c->key.n ? c->key : redis_key_of(c->argv, c->n);
}

static int add_job(struct redis_wire *w, const struct batch *b, size_t i)
{
    struct str all[REDIS_SCRIPT_ARGS + 3];
    char n_keys[16];
    if (!b->script)
        return redis_wire_add(w, b->commands[i].argv, b->commands[i].n);
    bool text = b->jobs[i].state == JOB_with_text;
    int len = snprintf(n_keys, sizeof(n_keys), "%zu", b->script->n_keys);
    all[0] = text ? STR("EVAL") : STR("EVALSHA");
    all[1] = text ? str_of(b->script->text) : (struct str){ b->digest, DIGEST_CHARS };
    all[2] = (struct str){ n_keys, (size_t)len };
    memcpy(all + 3, b->argv + i * b->n_each, b->n_each * sizeof(*all));
    return redis_wire_add(w, all, b->n_each + 3);
}

/* ---- replies ---- */

static bool refuses_permission(struct str text)
{
    return str_starts(text, STR("NOPERM")) || str_find(text, STR("user executing the script")) >= 0;
}

/* Redis leaves out which key it was, or which command of a script: we say what we asked for. */
static void name_refused(const struct batch *b, size_t i, redisReply *r)
{
    char more[160];
    if (r->type != REDIS_REPLY_ERROR || !refuses_permission(redis_text(r)))
        return;
    struct str verb = b->script ? STR("EVALSHA") : b->commands[i].argv[0];
    struct str key = str_head(key_of_job(b, i), 100);
    bool noperm = str_starts(redis_text(r), STR("NOPERM"));
    int n = snprintf(more, sizeof(more), " (%.*s%s%.*s)", STR_ARG(verb), key.n ? " on " : "",
                     STR_ARG(key));
    size_t word = noperm ? 0 : strlen("NOPERM "), len = r->len + word + (size_t)n;
    char *text = malloc(len + 1);
    if (!text)
        return; /* the reply says less, and is true */
    (void)snprintf(text, len + 1, "%s%.*s%s", noperm ? "" : "NOPERM ", (int)r->len, r->str, more);
    free(r->str);
    r->str = text;
    r->len = len;
}

static bool is_noscript(const struct batch *b, const redisReply *r)
{
    return b->script && r->type == REDIS_REPLY_ERROR && str_starts(redis_text(r), STR("NOSCRIPT"));
}

/* The job once more at the node that has what its slot no longer has (https://redis.io/docs/
 * reference/cluster-spec/, "ASK redirection"). */
static int ask_there(struct redis_link *l, struct batch *b, size_t i, struct redis_node *there,
                     struct fail *reterr)
{
    struct str asking = STR("ASKING");
    redisReply *replies[2] = { NULL, NULL };
    int r = redis_topology_connect(&l->topology, there, reterr);
    if (r == 0)
        r = redis_wire_add(there->wire, &asking, 1);
    if (r == 0)
        r = add_job(there->wire, b, i);
    if (r == 0)
        r = redis_node_talk(there, &l->topology.login, replies, 2, reterr);
    if (r != 0)
        return r;
    redis_reply_free(&replies[0]);
    redis_reply_free(&b->ret[i]);
    b->ret[i] = replies[1];
    return 0;
}

/* What the reply means for the job: done, or to be sent again. */
static int settle_job(struct redis_link *l, struct batch *b, size_t i, struct fail *reterr)
{
    struct redis_node *there = NULL;
    struct job *j = &b->jobs[i];
    enum redis_verdict v = redis_topology_judge(&l->topology, j->node, b->ret[i], &there);
    if (v == REDIS_asked) {
        int r = ask_there(l, b, i, there, reterr);
        if (r != 0)
            return r;
        v = redis_topology_judge(&l->topology, there, b->ret[i], &there);
        b->settle = b->settle || v == REDIS_asked;
    }
    b->settle = b->settle || v == REDIS_settle;
    if (v != REDIS_final)
        return 0;
    if (is_noscript(b, b->ret[i]) && j->state != JOB_with_text) {
        j->state = JOB_with_text;
        return 0;
    }
    j->state = JOB_done;
    name_refused(b, i, b->ret[i]);
    return 0;
}

/* ---- rounds ---- */

/* One pipeline to the node of job `first`, connected, of it and later jobs that go there too. */
static int send_some(struct redis_link *l, struct batch *b, size_t first, struct fail *reterr)
{
    struct redis_node *node = b->jobs[first].node;
    size_t at[PIPELINE], n = 0;
    redisReply *replies[PIPELINE];
    bool text = false; /* the script travels once a pipeline */
    int r = 0;
    for (size_t i = first; r == 0 && i < b->n && n < PIPELINE; i++) {
        struct job *j = &b->jobs[i];
        if (j->state == JOB_done || j->sent || j->node != node)
            continue;
        if (j->state == JOB_with_text && text)
            j->state = JOB_todo;
        text = text || j->state == JOB_with_text;
        j->sent = true;
        at[n++] = i;
        r = add_job(node->wire, b, i);
    }
    if (r == 0)
        r = redis_node_talk(node, &l->topology.login, replies, n, reterr);
    if (r != 0) {
        redis_node_hang_up(node); /* what was added must not be sent by the next call */
        return r;
    }
    for (size_t k = 0; k < n; k++) {
        redis_reply_free(&b->ret[at[k]]);
        b->ret[at[k]] = replies[k];
    }
    for (size_t k = 0; r == 0 && k < n; k++)
        r = settle_job(l, b, at[k], reterr);
    return r;
}

static int route_all(struct redis_link *l, struct batch *b, struct fail *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < b->n; i++) {
        b->jobs[i].sent = b->jobs[i].state == JOB_done;
        if (b->jobs[i].sent)
            continue;
        if (b->only)
            b->jobs[i].node = b->only;
        else
            r = redis_topology_route(&l->topology, key_of_job(b, i), &b->jobs[i].node, reterr);
    }
    return r;
}

static bool all_done(const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->jobs[i].state != JOB_done)
            return false;
    return true;
}

/* Where a job is not done, the error that kept it from being done is its reply. */
static int answered(const struct batch *b, struct fail *reterr)
{
    for (size_t i = 0; i < b->n; i++)
        if (!b->ret[i])
            return redis_unavailable(reterr, "its servers move too often");
    return 0;
}

static int pause_a_little(struct redis_link *l, unsigned ms, struct fail *reterr)
{
    struct pollfd wake = { .fd = l->topology.login.wake_fd, .events = POLLIN };
    return poll(&wake, 1, (int)redis_jitter(ms)) > 0 ? redis_unavailable(reterr, "stopping") : 0;
}

/* A server that cannot be reached may have been replaced: worth a look, not a wait. */
static bool may_have_moved(const struct redis_link *l, unsigned *tries)
{
    return l->topology.login.url.kind != REDIS_server && !l->topology.known && (*tries)++ == 0;
}

static int exchange(struct redis_link *l, struct batch *b, struct fail *reterr)
{
    unsigned tries = 0, pause_ms = SETTLE_MS;
    for (unsigned round = 0; round < ROUNDS && !all_done(b); round++) {
        if (b->settle) {
            int r = pause_a_little(l, pause_ms, reterr);
            if (r != 0)
                return r;
            pause_ms = pause_ms < SETTLE_MAX_MS ? 2 * pause_ms : SETTLE_MAX_MS;
        }
        b->settle = false;
        int r = route_all(l, b, reterr);
        for (size_t i = 0; r == 0 && i < b->n; i++) {
            if (b->jobs[i].sent)
                continue;
            r = redis_topology_connect(&l->topology, b->jobs[i].node, reterr);
            if (r == 0)
                r = send_some(l, b, i, reterr);
            else if (r == FAILED && may_have_moved(l, &tries)) {
                r = 0;
                break;
            }
        }
        if (r != 0)
            return r;
    }
    return answered(b, reterr);
}

/* One turn: all replies, or none. */
static int take_turn(struct redis_link *l, struct batch *b, struct fail *reterr)
{
    LOCKED(&l->turn);
    int r = atomic_load(&l->interrupted) ? redis_unavailable(reterr, "stopping")
                                         : exchange(l, b, reterr);
    if (r != 0)
        redis_topology_doubt(&l->topology);
    atomic_store(&l->up, r == 0);
    for (size_t i = 0; r != 0 && i < b->n; i++)
        redis_reply_free(&b->ret[i]);
    return r;
}

static int do_batch(struct redis_link *l, struct batch *b, struct fail *reterr)
{
    memset(b->ret, 0, b->n * sizeof(redisReply *));
    if (b->n == 1) {
        struct job one = { 0 };
        b->jobs = &one;
        int r = take_turn(l, b, reterr);
        b->jobs = NULL;
        return r;
    }
    b->jobs = calloc(b->n + 1, sizeof(*b->jobs));
    if (!b->jobs)
        return -ENOMEM;
    int r = take_turn(l, b, reterr);
    free(b->jobs);
    b->jobs = NULL;
    return r;
}

/* ---- calls ---- */

/* An error reply says what is wrong with the catalog's keys or with the server's state. */
static int refuse_error(redisReply **ret, struct fail *reterr)
{
    int r = redis_error(*ret, reterr);
    if (r != 0)
        redis_reply_free(ret);
    return r;
}

int redis_call_key(struct redis_link *l, struct str key, const struct str *argv, size_t n,
                   redisReply **ret, struct fail *reterr)
{
    struct redis_command c = { argv, n, key };
    struct batch b = { .commands = &c, .n = 1, .ret = ret };
    int r = do_batch(l, &b, reterr);
    return r == 0 ? refuse_error(ret, reterr) : r;
}

int redis_call(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
               struct fail *reterr)
{
    return redis_call_key(l, STR(""), argv, n, ret, reterr);
}

int redis_call_many(struct redis_link *l, const struct redis_command *commands, size_t n,
                    redisReply **ret, struct fail *reterr)
{
    struct batch b = { .commands = commands, .n = n, .ret = ret };
    return do_batch(l, &b, reterr);
}

/* NOLINTNEXTLINE(readability-function-size): a batch in full */
int redis_run_many(struct redis_link *l, const struct redis_script *s, const struct str *argv,
                   size_t n_each, size_t n_runs, redisReply **ret, struct fail *reterr)
{
    struct batch b = { .script = s, .argv = argv, .n_each = n_each, .n = n_runs, .ret = ret };
    assert(n_each <= REDIS_SCRIPT_ARGS && s->n_keys <= n_each);
    script_digest(s->text, b.digest);
    return do_batch(l, &b, reterr);
}

int redis_run(struct redis_link *l, const struct redis_script *s, const struct str *argv, size_t n,
              redisReply **ret, struct fail *reterr)
{
    return redis_run_many(l, s, argv, n, 1, ret, reterr);
}

/* NOLINTNEXTLINE(readability-function-size): a wait in full */
int redis_read_streams(struct redis_link *l, const struct str *keys, const struct str *ids,
                       size_t n, unsigned block_ms, unsigned count, redisReply **ret,
                       struct fail *reterr)
{
    struct redis_wait w = { keys, ids, n, block_ms, count, ret };
    assert(n > 0 && n <= REDIS_STREAMS && block_ms > 0 && count > 0);
    memset(ret, 0, n * sizeof(redisReply *));
    LOCKED(&l->turn);
    int r = redis_streams_wait(&l->topology, &l->lanes, &w, reterr);
    atomic_store(&l->up, r == 0);
    for (size_t i = 0; r != 0 && i < n; i++)
        redis_reply_free(&ret[i]);
    return r;
}

int redis_check(const redisReply *r, int type, struct fail *reterr)
{
    if (r && r->type == type)
        return 0;
    if (redis_error(r, reterr) != 0)
        return FAILED;
    return redis_unavailable(reterr, "a reply of an unexpected type; are its keys damaged?");
}

struct str redis_text(const redisReply *r)
{
    bool text = r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS ||
                      r->type == REDIS_REPLY_ERROR);
    return text && r->str ? (struct str){ r->str, r->len } : STR("");
}

/* ---- where keys are ---- */

bool redis_same_slot(struct redis_link *l, struct str a, struct str b)
{
    return l->topology.login.url.kind != REDIS_cluster || redis_slot(a) == redis_slot(b);
}

bool redis_same_node(struct redis_link *l, struct str a, struct str b)
{
    struct redis_node *of_a, *of_b;
    if (redis_same_slot(l, a, b))
        return true;
    LOCKED(&l->turn);
    return redis_topology_route(&l->topology, a, &of_a, NULL) == 0 &&
           redis_topology_route(&l->topology, b, &of_b, NULL) == 0 && of_a == of_b;
}

uint64_t redis_link_generation(struct redis_link *l)
{
    return atomic_load(&l->topology.generation);
}

int redis_ask_each(struct redis_link *l, const struct redis_command *commands, size_t n,
                   redis_each *each, void *ctx, struct fail *reterr)
{
    struct redis_node *masters[LIMIT_REDIS_NODES];
    redisReply *replies[REDIS_ASK_EACH] = { NULL };
    size_t n_masters = 0;
    int r;
    assert(n <= REDIS_ASK_EACH);
    {
        LOCKED(&l->turn);
        r = redis_topology_masters(&l->topology, masters, &n_masters, reterr);
    }
    for (size_t i = 0; r == 0 && i < n_masters; i++) {
        struct batch b = { .commands = commands, .n = n, .ret = replies, .only = masters[i] };
        r = do_batch(l, &b, reterr);
        if (r == 0)
            r = each(ctx, masters[i]->address.host, masters[i]->address.port, replies, reterr);
        for (size_t k = 0; k < n; k++)
            redis_reply_free(&replies[k]);
    }
    return r;
}

/* ---- life ---- */

struct redis_options redis_options_of(const struct config_adapters *c, unsigned timeout_ms)
{
    return (struct redis_options){
        .url = c->catalog_url,
        .timeout_ms = timeout_ms,
        .user = c->catalog_user,
        .password_env = c->catalog_password_env,
        .password_file = c->catalog_password_file,
        .tls_ca = c->catalog_tls_ca,
        .tls_cert = c->catalog_tls_cert,
        .tls_key = c->catalog_tls_key,
        .tls_insecure = c->catalog_tls_insecure,
    };
}

int redis_link_open(struct redis_link **ret, const struct redis_options *o, struct fail *reterr)
{
    struct redis_link *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    (void)pthread_mutex_init(&l->turn, NULL);
    int r = redis_topology_init(&l->topology, o, reterr);
    l->topology.login.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r == 0 && l->topology.login.wake_fd < 0)
        r = -errno;
    if (r != 0) {
        (void)redis_link_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

int redis_link_new(struct redis_link **ret, struct str url, unsigned timeout_ms,
                   struct fail *reterr)
{
    struct redis_options o = { .url = url, .timeout_ms = timeout_ms };
    return redis_link_open(ret, &o, reterr);
}

struct redis_link *redis_link_free(struct redis_link *l)
{
    if (!l)
        return NULL;
    l->lanes = redis_lanes_free(l->lanes);
    own_close(&l->topology.login.wake_fd);
    redis_topology_done(&l->topology);
    (void)pthread_mutex_destroy(&l->turn);
    free(l);
    return NULL;
}

bool redis_link_up(struct redis_link *l)
{
    return atomic_load(&l->up);
}

void redis_link_interrupt(struct redis_link *l)
{
    atomic_store(&l->interrupted, true);
    (void)eventfd_write(l->topology.login.wake_fd, 1); /* never read: it stays readable */
}
