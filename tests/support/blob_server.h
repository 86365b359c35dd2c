/*
 * The stores of tests/support/blob_server.py, in a process of their own on a free port.
 */
#pragma once

#include <sys/types.h>

#define BLOB_SERVER_ACCESS "AKTEST"
#define BLOB_SERVER_SECRET "the/secret+key"
#define BLOB_SERVER_SESSION "session/token=="
#define BLOB_SERVER_REGION "eu-test-1"

struct blob_server {
    pid_t pid;
    int port;
    int input;    /* closing it stops the server */
    char url[64]; /* http://127.0.0.1:PORT */
};

void blob_server_start(struct blob_server *s); /* fails the test when it does not come up */
void blob_server_stop(struct blob_server *s);
