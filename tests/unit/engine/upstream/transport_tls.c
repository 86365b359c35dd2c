/*
 * Transport over TLS: who is trusted, client certificates, cut connections. The certificates are
 * made here, the server is OpenSSL's own.
 */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/upstream/transport.h"
#include "tests/unit/engine/upstream/probe.h"

#define DAY_S 86400l

static struct transport *transport;

/* ---- certificates ---- */

struct identity {
    EVP_PKEY *key;
    X509 *cert;
    char cert_path[512], key_path[512];
};

static struct identity ca, other_ca, good, expired, elsewhere, client;

static void write_pem(struct identity *id, const char *name)
{
    static const char *dir;
    if (!dir)
        dir = test_temp_dir();
    (void)snprintf(id->cert_path, sizeof(id->cert_path), "%s/%s.pem", dir, name);
    (void)snprintf(id->key_path, sizeof(id->key_path), "%s/%s.key", dir, name);
    FILE *f = fopen(id->cert_path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, id->cert), 1);
    assert_int_equal(fclose(f), 0);
    f = fopen(id->key_path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(f), 0);
}

/* `names`: subjectAltName; NULL: an authority. `until_days` may be in the past. */
static void make_identity(struct identity *id, const char *name, const char *names,
                          const struct identity *issuer, long until_days)
{
    static long serial;
    id->key = EVP_EC_gen("P-256");
    id->cert = X509_new();
    assert_non_null(id->key);
    assert_int_equal(X509_set_version(id->cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(id->cert), ++serial), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(id->cert), -10 * DAY_S);
    (void)X509_gmtime_adj(X509_getm_notAfter(id->cert), until_days * DAY_S);
    (void)X509_set_pubkey(id->cert, id->key);
    X509_NAME *subject = X509_get_subject_name(id->cert);
    (void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                     -1, 0);
    const struct identity *by = issuer ? issuer : id;
    (void)X509_set_issuer_name(id->cert, X509_get_subject_name(by->cert));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, by->cert, id->cert, NULL, NULL, 0);
    X509_EXTENSION *e =
        X509V3_EXT_conf_nid(NULL, &ctx, names ? NID_subject_alt_name : NID_basic_constraints,
                            names ? names : "critical,CA:TRUE");
    assert_non_null(e);
    (void)X509_add_ext(id->cert, e, -1);
    X509_EXTENSION_free(e);
    assert_true(X509_sign(id->cert, by->key, EVP_sha256()) > 0);
    write_pem(id, name);
}

static void identity_done(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

/* ---- the server: one connection after the other ---- */

enum tls_way { TLS_answers, TLS_cuts_body, TLS_cuts_handshake, TLS_asks_client };

struct tls_server {
    SSL_CTX *ctx;
    int fd;
    unsigned port;
    enum tls_way way;
    pthread_t thread;
    atomic_bool stopping;
    atomic_uint resumed, handshakes;
};

static void serve_tls(struct tls_server *s, int fd)
{
    char in[4096];
    if (s->way == TLS_cuts_handshake) {
        (void)!recv(fd, in, sizeof(in), 0);
        (void)close(fd);
        return;
    }
    SSL *ssl = SSL_new(s->ctx);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        (void)atomic_fetch_add(&s->handshakes, 1);
        (void)atomic_fetch_add(&s->resumed, (unsigned)SSL_session_reused(ssl));
        bool cuts = s->way == TLS_cuts_body;
        const char *answer = cuts ? "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"
                                  : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        while (SSL_read(ssl, in, sizeof(in)) > 0) {
            (void)SSL_write(ssl, answer, (int)strlen(answer));
            if (cuts || strstr(in, "/once"))
                break;
        }
        if (!cuts)
            (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    (void)close(fd);
}

static void *accept_tls(void *arg)
{
    struct tls_server *s = arg;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (atomic_load(&s->stopping)) {
            if (fd >= 0)
                (void)close(fd);
            return NULL;
        }
        if (fd >= 0)
            serve_tls(s, fd);
    }
}

static void tls_server_start(struct tls_server *s, const struct identity *id, enum tls_way way)
{
    *s = (struct tls_server){ .way = way };
    s->ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(s->ctx, id->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s->ctx, id->key), 1);
    if (way == TLS_asks_client) {
        assert_int_equal(SSL_CTX_load_verify_locations(s->ctx, ca.cert_path, NULL), 1);
        SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        (void)SSL_CTX_set_max_proto_version(s->ctx, TLS1_2_VERSION); /* refused in the handshake */
    }
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, accept_tls, s), 0);
}

static void tls_server_stop(struct tls_server *s)
{
    atomic_store(&s->stopping, true);
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
    SSL_CTX_free(s->ctx);
}

/* ---- tests ---- */

static struct call_end call_url(const char *scheme, unsigned port, const char *path,
                                struct call_tls tls, bool http2)
{
    char url[128];
    (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u%s", scheme, port, path);
    struct probe p;
    probe_init(&p, transport_loop(transport, 0), port, path, "{}");
    probe_url(&p, url);
    p.spec.tls = tls;
    p.spec.http2 = http2;
    probe_run(&p);
    struct call_end end = p.end;
    probe_done(&p);
    return end;
}

static struct call_end call_once(unsigned port, const char *path, struct call_tls tls, bool http2)
{
    return call_url("https", port, path, tls, http2);
}

static void renew(void)
{
    transport = transport_free(transport);
    assert_int_equal(transport_new(&transport, &(struct transport_config){ .loops = 1 }), 0);
}

static void only_who_is_certified_is_trusted(void **state)
{
    const struct {
        const struct identity *server;
        struct call_tls tls;
        enum call_outcome outcome;
    } rows[] = {
        { &good, { .ca = ca.cert_path }, CALL_complete },
        { &good, { 0 }, CALL_untrusted }, /* the system's authorities */
        { &good, { .ca = other_ca.cert_path }, CALL_untrusted },
        { &good, { .insecure = true }, CALL_complete },
        { &expired, { .ca = ca.cert_path }, CALL_untrusted },
        { &expired, { .insecure = true }, CALL_complete },
        { &elsewhere, { .ca = ca.cert_path }, CALL_untrusted },
        { &good, { .ca = "/no/such/file.pem" }, CALL_failed },
        { &good, { .ca = ca.cert_path, .cert = "/no/such/file.pem" }, CALL_failed },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_server s;
        tls_server_start(&s, rows[i].server, TLS_answers);
        struct call_end end = call_once(s.port, "/", rows[i].tls, false);
        if (end.outcome != rows[i].outcome)
            print_message("# %zu: %s\n", i, end.message);
        assert_int_equal(end.outcome, rows[i].outcome);
        assert_int_equal(end.was_sent, rows[i].outcome == CALL_complete);
        renew(); /* the server serves one connection at once */
        tls_server_stop(&s);
    }
}

static void trust_is_not_shared_by_calls_that_differ(void **state)
{
    struct tls_server s;
    tls_server_start(&s, &good, TLS_answers);
    assert_int_equal(
        call_once(s.port, "/once", (struct call_tls){ .insecure = true }, false).outcome,
        CALL_complete);
    assert_int_equal(call_once(s.port, "/once", (struct call_tls){ 0 }, false).outcome,
                     CALL_untrusted);
    assert_int_equal(
        call_once(s.port, "/once", (struct call_tls){ .ca = ca.cert_path }, false).outcome,
        CALL_complete);
    renew();
    tls_server_stop(&s);
}

/* Calls one after the other have the same handle. */
static void a_handle_that_was_for_plain_calls_trusts_as_it_is_told(void **state)
{
    struct tls_server s;
    struct call_tls none = { 0 }, right = { .ca = ca.cert_path },
                    wrong = { .ca = other_ca.cert_path };
    tls_server_start(&s, &good, TLS_answers);
    const struct {
        struct call_tls tls;
        enum call_outcome outcome;
    } rows[] = {
        { right, CALL_complete }, { wrong, CALL_untrusted }, { right, CALL_complete },
        { none, CALL_untrusted }, { right, CALL_complete },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(call_url("http", /* nobody listens */ 1, "/", none, false).outcome,
                         CALL_unreachable);
        assert_int_equal(call_once(s.port, "/once", rows[i].tls, false).outcome, rows[i].outcome);
    }
    renew();
    tls_server_stop(&s);
}

static void a_client_shows_its_certificate(void **state)
{
    struct tls_server s;
    struct call_tls tls = { .ca = ca.cert_path, .cert = client.cert_path, .key = client.key_path };
    tls_server_start(&s, &good, TLS_asks_client);
    assert_int_equal(call_once(s.port, "/", tls, false).outcome, CALL_complete);
    renew();
    assert_int_equal(call_once(s.port, "/", (struct call_tls){ .ca = ca.cert_path }, false).outcome,
                     CALL_untrusted);
    renew();
    tls_server_stop(&s);
}

static void sessions_are_resumed(void **state)
{
    struct tls_server s;
    struct call_tls tls = { .ca = ca.cert_path };
    tls_server_start(&s, &good, TLS_answers);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(call_once(s.port, "/once", tls, false).outcome, CALL_complete);
    renew();
    tls_server_stop(&s);
    assert_int_equal(s.handshakes, 3);
    assert_true(s.resumed >= 1);
}

static void connections_are_used_again(void **state)
{
    struct tls_server s;
    struct call_tls tls = { .ca = ca.cert_path };
    tls_server_start(&s, &good, TLS_answers);
    for (unsigned i = 0; i < 3; i++) {
        struct call_end end = call_once(s.port, "/", tls, false);
        assert_int_equal(end.outcome, CALL_complete);
        assert_int_equal(end.was_reused, i > 0);
    }
    renew();
    tls_server_stop(&s);
}

static void a_cut_is_no_end(void **state)
{
    struct tls_server s;
    struct call_tls tls = { .ca = ca.cert_path };
    tls_server_start(&s, &good, TLS_cuts_body);
    assert_int_equal(call_once(s.port, "/", tls, false).outcome, CALL_truncated);
    tls_server_stop(&s);
    tls_server_start(&s, &good, TLS_cuts_handshake);
    assert_int_equal(call_once(s.port, "/", tls, false).outcome, CALL_unreachable);
    tls_server_stop(&s);
}

static void http2_where_there_is_none_is_http1(void **state)
{
    struct tls_server s;
    tls_server_start(&s, &good, TLS_answers);
    struct call_end end = call_once(s.port, "/", (struct call_tls){ .ca = ca.cert_path }, true);
    assert_int_equal(end.outcome, CALL_complete);
    renew();
    tls_server_stop(&s);
}

static int open_all(void **state)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the server's writes */
    make_identity(&ca, "ca", NULL, NULL, 10);
    make_identity(&other_ca, "other_ca", NULL, NULL, 10);
    make_identity(&good, "good", "IP:127.0.0.1", &ca, 10);
    make_identity(&expired, "expired", "IP:127.0.0.1", &ca, -1);
    make_identity(&elsewhere, "elsewhere", "DNS:example.com", &ca, 10);
    make_identity(&client, "client", "DNS:client", &ca, 10);
    return transport_new(&transport, &(struct transport_config){ .loops = 1 });
}

static int close_all(void **state)
{
    transport = transport_free(transport);
    struct identity *const all[] = { &ca, &other_ca, &good, &expired, &elsewhere, &client };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        identity_done(all[i]);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_is_certified_is_trusted),
        cmocka_unit_test(trust_is_not_shared_by_calls_that_differ),
        cmocka_unit_test(a_handle_that_was_for_plain_calls_trusts_as_it_is_told),
        cmocka_unit_test(a_client_shows_its_certificate),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(a_cut_is_no_end),
        cmocka_unit_test(http2_where_there_is_none_is_http1),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_all, close_all);
}
