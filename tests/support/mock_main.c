/*
 * The mock upstream as a program: mock_upstream [--address A] [--port PORT] [--tls CERT KEY]…
 *
 * Listens on a loopback address (127.0.0.1), prints the ports, one a line in the order asked for
 * (the plain one first), and serves until standard input ends.
 */
#include "base/num.h"
#include "tests/support/mock_upstream.h"

#include <signal.h>
#include <unistd.h>

enum { LISTENERS = 16 };

int main(int argc, char **argv)
{
    struct mock_listen listen[LISTENERS] = { { .port = 0 } };
    CLEANUP(mock_upstream_stopp) struct mock_upstream *m = NULL;
    size_t n = 1;
    uint64_t port = 0;
    char byte;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc &&
            num_parse_u64(&port, str_of(argv[i + 1]), 0, UINT16_MAX) == 0) {
            listen[0].port = (uint16_t)port;
            i++;
        } else if (strcmp(argv[i], "--address") == 0 && i + 1 < argc) {
            listen[0].address = argv[++i];
        } else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc && n < LISTENERS) {
            listen[n++] = (struct mock_listen){ .cert = argv[i + 1], .key = argv[i + 2] };
            i += 2;
        } else {
            (void)fprintf(stderr,
                          "usage: mock_upstream [--address A] [--port PORT] [--tls CERT KEY]...\n");
            return 2;
        }
    }
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    int r = mock_upstream_start(&m, listen, n);
    if (r < 0) {
        (void)fprintf(stderr, "mock_upstream: %s\n", strerror(-r));
        return 1;
    }
    for (size_t i = 0; i < n; i++)
        (void)printf("%u\n", mock_upstream_port(m, i));
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
