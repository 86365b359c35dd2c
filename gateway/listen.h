/*
 * The listening socket.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

enum { LISTEN_ADDRESS = 80 };

/* A bound, listening, non-blocking socket; `ret_address` as bound. FAILED: why not. */
int listen_open(int *ret_fd, char ret_address[static LISTEN_ADDRESS], struct str text,
                struct fail *reterr) MUST_USE;
