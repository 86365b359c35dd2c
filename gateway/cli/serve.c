#include "gateway/cli/cli.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/server.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * The main thread: starts everything, then waits for signals. HUP reloads the file, TERM and INT
 * drain, a second one cuts what still runs.
 */

enum {
    POLL_MS = 20,  /* how often a drain looks */
    CUT_MS = 5000, /* for requests to end after they were cut */
};

/* Blocked before the first thread starts, so that every thread inherits it and only we wait. */
static void block_signals(sigset_t *ret)
{
    (void)sigemptyset(ret);
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret, /* old= */ NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Two descriptors a stream and some for adapters; more only if the system lets us. */
static void raise_files(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= l.rlim_max)
        return;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

static void complain(const char *what, const struct fail *fail, int err)
{
    (void)fprintf(stderr, "rootstock serve: %s: %s\n", what,
                  err == FAILED ? fail->message : strerror(-err));
}

static struct state *compile(struct core *core, struct config *config)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 * MIB);
    struct state *s = NULL;
    int r = p ? state_new(&s, core, config, p) : -ENOMEM;
    if (p)
        problems_print(p, &text);
    log_text(STDERR_FILENO, buf_str(&text));
    if (r < 0 && r != -EINVAL)
        complain("policy", /* fail= */ NULL, r);
    return r == 0 ? s : NULL;
}

static void reload(struct server *server, struct core *core, const char *path)
{
    CLEANUP(config_unrefp) struct config *config = cli_config(path);
    struct state *s = config ? compile(core, config) : NULL;
    if (!s) {
        metrics_add(METRIC_config_reload_failures_total, 1);
        log_line(LOG_error, "reload", "result=refused file=%s, the old one keeps running", path);
        return;
    }
    const char *differs = core_differs(core, config);
    if (differs)
        log_line(LOG_warn, "reload", "changed=\"%s\" needs a restart, continuing with the old one",
                 differs);
    log_set_level(config->gateway.log_level);
    server_publish(server, s);
    metrics_add(METRIC_config_reloads_total, 1);
    log_line(LOG_info, "reload", "result=done file=%s", path);
}

static void print_hint(struct server *server)
{
    CLEANUP(state_unrefp) struct state *state = server_state(server);
    const struct core *core = state->core;
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * KIB);
    const char *address = server_address(server);
    buf_addf(&text, "rootstock " ROOTSTOCK_VERSION " listens on http://%s\n", address);
    struct adapters_state a;
    adapters_state(core->adapters, &a);
    buf_addf(&text, "%zu base model%s, %zu adapter%s\n", core->n_models,
             core->n_models == 1 ? "" : "s", a.known, a.known == 1 ? "" : "s");
    if (core->n_models)
        buf_addf(&text,
                 "try:\n  curl -N http://%s/v1/chat/completions -H 'Content-Type: "
                 "application/json' \\\n    -d '{\"model\":\"auto\",\"stream\":true,"
                 "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n",
                 address);
    log_text(STDOUT_FILENO, buf_str(&text));
}

/* Waits until no request is active, a signal comes, or the time is over. */
static void wait_idle(const struct server *server, const sigset_t *signals, uint64_t until_ms)
{
    while (server_active(server) && clock_ms() < until_ms) {
        struct timespec t = { .tv_nsec = POLL_MS * 1000000l };
        int sig = sigtimedwait(signals, /* info= */ NULL, &t);
        if (sig == SIGTERM || sig == SIGINT)
            return;
    }
}

static int drain(struct server *server, struct core *core, const sigset_t *signals,
                 uint64_t drain_ms)
{
    log_line(LOG_info, "drain", "active=%u ms=%llu", server_active(server),
             (unsigned long long)drain_ms);
    server_drain(server);
    wait_idle(server, signals, clock_ms() + drain_ms);
    core_drain(core);
    if (server_active(server)) {
        log_line(LOG_warn, "drain", "cut=%u, continuing", server_active(server));
        server_cancel_all(server);
        uint64_t until = clock_ms() + CUT_MS;
        while (server_active(server) && clock_ms() < until)
            (void)usleep(POLL_MS * 1000);
    }
    if (server_stop(server) == 0)
        return EXIT_OK;
    log_line(LOG_error, "drain", "stuck=%u", server_active(server));
    _exit(EXIT_FAILED); /* threads still hold what an orderly end would free */
}

static int serve(struct server *server, struct core *core, const char *path,
                 const sigset_t *signals)
{
    uint64_t drain_ms = core->config->gateway.drain_ms;
    for (;;) {
        int sig = 0;
        if (sigwait(signals, &sig) != 0)
            continue;
        if (sig != SIGHUP)
            return drain(server, core, signals, drain_ms);
        reload(server, core, path);
    }
}

static int start(struct server **ret, struct core **ret_core, struct config *config,
                 struct str listen)
{
    struct fail fail = { 0 };
    int r = core_new(ret_core, config, &fail);
    if (r != 0) {
        complain("start", &fail, r);
        return -EINVAL;
    }
    struct state *state = compile(*ret_core, config);
    if (!state)
        return -EINVAL;
    if (auth_open(state->auth))
        log_line(LOG_info, "auth", "keys=none only loopback clients are served");
    r = server_start(ret, *ret_core, state, listen, &fail);
    if (r != 0)
        complain("start", &fail, r);
    return r == 0 ? 0 : -EINVAL;
}

int cli_serve(int argc, char **argv)
{
    const char *path = NULL, *listen = NULL;
    const struct cli_option options[] = {
        { "--config", 'c', CLI_text, &path, "FILE", "the configuration" },
        { "--listen", 0, CLI_text, &listen, "ADDR:PORT", "instead of gateway.listen" },
        { 0 },
    };
    const struct cli_command command = {
        .usage = "serve -c FILE [--listen ADDR:PORT]",
        .help =
            "Answers HTTP requests until SIGTERM. SIGHUP reloads policy, keys and engines behind.",
        .options = options,
    };
    int operands = 0;
    int status = cli_parse(&command, argc, argv, &operands);
    if (status != CLI_GO)
        return status;
    if (!path || operands > 0) {
        (void)fprintf(stderr, "rootstock serve: %s\n",
                      path ? "takes no operands" : "-c FILE is missing");
        return EXIT_MISUSE;
    }
    json_object_seed(0); /* before any thread: jansson seeds lazily and not thread-safely */
    sigset_t signals;
    block_signals(&signals);
    raise_files();
    CLEANUP(config_unrefp) struct config *config = cli_config(path);
    if (!config)
        return EXIT_FAILED;
    log_set_level(config->gateway.log_level);
    CLEANUP(core_freep) struct core *core = NULL;
    struct server *server = NULL;
    if (start(&server, &core, config, listen ? str_of(listen) : config->gateway.listen) < 0)
        return EXIT_FAILED;
    print_hint(server);
    return serve(server, core, path, &signals);
}
