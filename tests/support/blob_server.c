#include "tests/support/blob_server.h"

#include "tests/support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(const int *in, const int *out)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no test leaves one behind */
    (void)dup2(in[0], STDIN_FILENO);
    (void)dup2(out[1], STDOUT_FILENO);
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
    const char *path = test_path("tests/support/blob_server.py");
    (void)execl("/usr/bin/python3", "python3", path, (char *)NULL);
    _exit(127);
}

void blob_server_start(struct blob_server *s)
{
    int in[2], out[2];
    char line[32] = "";
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        run(in, out);
    (void)close(in[0]);
    (void)close(out[1]);
    s->input = in[1];
    FILE *f = fdopen(out[0], "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    (void)fclose(f);
    s->port = (int)strtol(line, NULL, 10);
    assert_true(s->port > 0);
    (void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", s->port);
}

void blob_server_stop(struct blob_server *s)
{
    (void)close(s->input);
    (void)waitpid(s->pid, NULL, 0);
}
