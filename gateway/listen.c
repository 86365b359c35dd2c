#include "gateway/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct place {
    char host[256], port[16];
};

static int split(struct str text, struct place *ret, struct fail *reterr)
{
    struct str s = str_trim(text);
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    struct str host = colon ? str_head(s, colon - 1) : STR_NULL, port = str_sub(s, colon);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct str){ host.p + 1, host.n - 2 };
    if (port.n == 0 || port.n >= sizeof(ret->port) || host.n >= sizeof(ret->host))
        return fail_set(reterr, FAIL_invalid_request,
                        "'" STR_FMT "' is no address to listen on; write ADDRESS:PORT, such as "
                        "127.0.0.1:8080",
                        STR_ARG(str_head(s, 100)));
    (void)snprintf(ret->host, sizeof(ret->host), STR_FMT, STR_ARG(host));
    (void)snprintf(ret->port, sizeof(ret->port), STR_FMT, STR_ARG(port));
    return 0;
}

static int open_one(const struct addrinfo *a)
{
    CLEANUP(own_close)
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    int r = fd;
    fd = -1; /* NOLINT(clang-analyzer-deadcode.DeadStores): own_close reads it */
    return r;
}

static void print_address(int fd, char ret[static LISTEN_ADDRESS])
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    char host[64] = "?", port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        (void)getnameinfo((struct sockaddr *)&a, n, host, sizeof(host), port, sizeof(port),
                          NI_NUMERICHOST | NI_NUMERICSERV);
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(ret, LISTEN_ADDRESS, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

int listen_open(int *ret_fd, char ret_address[static LISTEN_ADDRESS], struct str text,
                struct fail *reterr)
{
    struct place p;
    int r = split(text, &p, reterr);
    if (r != 0)
        return r;
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    int err = getaddrinfo(p.host[0] ? p.host : NULL, p.port, &hints, &list);
    if (err)
        return fail_set(reterr, FAIL_invalid_request, "cannot listen on " STR_FMT ": %s",
                        STR_ARG(text), gai_strerror(err));
    int fd = -EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = open_one(a);
    freeaddrinfo(list);
    if (fd < 0)
        return fail_set(reterr, FAIL_invalid_request, "cannot listen on " STR_FMT ": %s",
                        STR_ARG(text), strerror(-fd));
    print_address(fd, ret_address);
    *ret_fd = fd;
    return 0;
}
