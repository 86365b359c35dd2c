#include "adapters/redis_url.h"

#include "base/num.h"

#include <errno.h>
#include <stdlib.h>

#define PORT_MAX 65535
#define DB_MAX 65535
#define SOCKET_PATH_MAX 107 /* of sockaddr_un on Linux, without its NUL */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(struct str s) /* owned, or NULL: no memory */
{
    char *p = malloc(s.n + 1), *to = p;
    for (size_t i = 0; p && i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (lo >= 0) {
            *to++ = (char)(hi << 4 | lo);
            i += 2;
        } else {
            *to++ = s.p[i];
        }
    }
    if (p)
        *to = '\0';
    return p;
}

static int bad_url(struct fail *reterr, const char *what)
{
    return fail_param(reterr, FAIL_invalid_request, "adapters.catalog.url",
                      "adapters.catalog.url: %s; write redis://[user:password@]host[:port][/db] "
                      "(rediss:// for TLS), unix:///path, redis+sentinel://host,host/master or "
                      "redis+cluster://host,host",
                      what);
}

bool redis_address_eq(const struct redis_address *a, const struct redis_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool redis_address_of(struct redis_address *ret, struct str host, struct str port)
{
    uint64_t n = 0;
    if (host.n == 0 || host.n >= sizeof(ret->host) || num_parse_u64(&n, port, 1, PORT_MAX) < 0)
        return false;
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] <= ' ' || host.p[i] > '~')
            return false;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->host, host.p, host.n);
    ret->port = (int)n;
    return true;
}

static int read_login(struct redis_url *u, struct str *rest)
{
    size_t at = rest->n;
    while (at > 0 && rest->p[at - 1] != '@') /* a password may hold an '@' */
        at--;
    if (at == 0)
        return 0;
    struct str login = { rest->p, at - 1 }, user = STR(""), password = login;
    (void)str_cut(login, ':', &user, &password);
    *rest = str_sub(*rest, at);
    if (user.n && !(u->user = decode(user)))
        return -ENOMEM;
    u->password = decode(password);
    return u->password ? 0 : -ENOMEM;
}

static int read_host(struct redis_url *u, struct str text, struct fail *reterr)
{
    struct str host = text, port = STR("");
    if (u->n_seeds == REDIS_SEEDS)
        return bad_url(reterr, "more than 16 hosts");
    if (text.n && text.p[0] == '[') { /* IPv6 */
        if (!str_cut(str_sub(text, 1), ']', &host, &port) || (port.n && port.p[0] != ':'))
            return bad_url(reterr, "the address in brackets is not closed");
        port = str_sub(port, 1);
    } else {
        (void)str_cut(text, ':', &host, &port);
    }
    if (port.n == 0)
        port = u->kind == REDIS_sentinel ? STR("26379") : STR("6379");
    uint64_t n = 0;
    if (num_parse_u64(&n, port, 1, PORT_MAX) < 0)
        return bad_url(reterr, "the port is no number from 1 to 65535");
    if (!redis_address_of(&u->seeds[u->n_seeds], host.n ? host : STR("127.0.0.1"), port))
        return bad_url(reterr, "the host is no name");
    u->n_seeds++;
    return 0;
}

static int read_hosts(struct redis_url *u, struct str hosts, struct fail *reterr)
{
    struct str host = hosts, rest = STR("");
    int r = 0;
    if (u->kind == REDIS_server)
        return read_host(u, hosts, reterr);
    for (bool more = true; r == 0 && more; hosts = rest) {
        host = hosts;
        more = str_cut(hosts, ',', &host, &rest);
        r = host.n ? read_host(u, host, reterr) : bad_url(reterr, "a host is empty");
    }
    return r;
}

static int read_db(struct redis_url *u, struct str text, struct fail *reterr)
{
    if (text.n && num_parse_u64(&u->db, text, 0, DB_MAX) < 0)
        return bad_url(reterr, "the database is no number");
    return 0;
}

/* What follows the hosts: "/db", "/master[/db]" or nothing. */
static int read_path(struct redis_url *u, struct str path, struct fail *reterr)
{
    struct str master = path, db = STR("");
    if (u->kind == REDIS_server)
        return read_db(u, path, reterr);
    if (u->kind == REDIS_cluster)
        return path.n == 0 || str_is(path, "0") ? 0 : bad_url(reterr, "a Cluster has no database");
    (void)str_cut(path, '/', &master, &db);
    if (master.n == 0)
        return bad_url(reterr, "the name of the master is missing");
    u->master = decode(master);
    return u->master ? read_db(u, db, reterr) : -ENOMEM;
}

static int read_unix(struct redis_url *u, struct str rest, struct fail *reterr)
{
    struct str path = rest, query = STR("");
    int r = rest.n && rest.p[0] == '/' ? 0 : read_login(u, &path);
    if (r < 0)
        return r;
    (void)str_cut(path, '?', &path, &query);
    if (path.n == 0 || path.p[0] != '/')
        return bad_url(reterr, "the path of the socket does not begin with '/'");
    if (path.n > SOCKET_PATH_MAX)
        return bad_url(reterr, "the path of the socket has more than 107 bytes");
    if (query.n && !str_starts(query, STR("db=")))
        return bad_url(reterr, "only db=N may follow the path of a socket");
    memcpy(u->seeds[0].host, path.p, path.n);
    u->n_seeds = 1;
    return read_db(u, query.n ? str_sub(query, 3) : STR(""), reterr);
}

int redis_url_read(struct redis_url *u, struct str url, struct fail *reterr)
{
    static const struct {
        const char *scheme;
        enum redis_kind kind;
        bool tls;
    } schemes[] = {
        { "redis://", REDIS_server, false },
        { "rediss://", REDIS_server, true },
        { "redis+sentinel://", REDIS_sentinel, false },
        { "rediss+sentinel://", REDIS_sentinel, true },
        { "redis+cluster://", REDIS_cluster, false },
        { "rediss+cluster://", REDIS_cluster, true },
    };
    memset(u, 0, sizeof(*u));
    if (str_starts(url, STR("unix://")))
        return read_unix(u, str_sub(url, 7), reterr);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct str scheme = str_of(schemes[i].scheme);
        if (!str_starts(url, scheme))
            continue;
        u->kind = schemes[i].kind;
        u->tls = schemes[i].tls;
        struct str rest = str_sub(url, scheme.n), path = STR("");
        int r = read_login(u, &rest);
        (void)str_cut(rest, '/', &rest, &path);
        if (r == 0)
            r = read_hosts(u, rest, reterr);
        return r == 0 ? read_path(u, path, reterr) : r;
    }
    return bad_url(reterr, "not a redis:// address");
}

void redis_url_done(struct redis_url *u)
{
    free(u->user);
    free(u->password);
    free(u->master);
    u->user = u->password = u->master = NULL;
}
