/* Adapters on an engine of ours, and who asks for them: what the tests of lora share. */
#pragma once

#include "engine/upstream/lora.h"
#include "tests/support/test.h"

#include <pthread.h>
#include <stdlib.h>

enum { PATIENCE_MS = 20000, SOON_MS = 100, LOG_MAX = 4096 };

#define BASE_ROW "{\"id\":\"base\",\"parent\":null}"
#define FOLDER "path: \"/srv/{digest2}/{digest}\""

struct test_engine {
    pthread_mutex_t lock;
    char log[LOG_MAX]; /* "+name" loaded, "-name" unloaded */
    char models[LOG_MAX];
    const char *refusal;
    const char *fixed; /* llama-server's adapters; NULL: it does not tell them */
    bool breaks;       /* the connection, where it loads */
    unsigned nap_ms;
};

extern struct test_engine engine;

struct fixture {
    struct script_server *server;
    struct transport *transport;
    struct config *config;
    struct credentials *credentials;
    struct ledger_local *ledger;
    struct lora_fleet *fleet;
    struct lora_files files;
    unsigned placed, kept, trimmed;
};

struct asker {
    struct transport_task task;
    struct lora_use use; /* a member, so that `ready` finds us */
    struct fixture *fixture;
    struct engine_adapter adapter;
    pthread_mutex_t lock;
    pthread_cond_t more;
    unsigned done; /* tasks that ran */
    unsigned told; /* of `ready` */
    int result;    /* of lora_acquire */
    bool held;
    struct fail fail;
};

/* `had`: rows of adapters that the engine has already; each begins with a comma. */
void fixture_init_at(struct fixture *f, const char *provider, const char *lora, const char *had);
void fixture_init(struct fixture *f, const char *provider, const char *lora);
void fixture_done(struct fixture *f);
void asker_init(struct asker *a, struct fixture *f, const char *name, unsigned seed);
void asker_done(struct asker *a);
void run_acquire(struct transport_task *task);
void run_release(struct transport_task *task);
void run_missing(struct transport_task *task);
/* On the loop; returns when it ran. */
void on_loop(struct asker *a, void (*run)(struct transport_task *task));
void wait_told(struct asker *a);
bool acquire(struct asker *a);
void release(struct asker *a);
void assert_log(const char *text);
void wait_log(const char *text);
void wait_resident(struct fixture *f, struct asker *a, uint64_t bits);
