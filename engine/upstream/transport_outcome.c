/*
 * How a transfer ended: curl's codes as the outcomes that callers decide by.
 */
#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/clock.h"

const char *call_outcome_word(enum call_outcome o)
{
    static const char *const words[] = {
        [CALL_complete] = "complete",
        [CALL_unreachable] = "it cannot be reached",
        [CALL_untrusted] = "it cannot prove who it is",
        [CALL_broken] = "it closed the connection without an answer",
        [CALL_truncated] = "its answer ends too early",
        [CALL_malformed] = "its answer is malformed",
        [CALL_timeout_connect] = "connecting to it takes too long",
        [CALL_timeout_first] = "it does not begin to answer in time",
        [CALL_timeout_idle] = "it fell silent in the middle of its answer",
        [CALL_timeout_total] = "its answer takes too long",
        [CALL_cancelled] = "cancelled",
        [CALL_failed] = "no memory or descriptors for it here",
    };
    return words[o];
}

/* curl's message: OpenSSL's own complaints begin with "error:" in it. */
static bool says(const struct call *c, const char *what)
{
    return strstr(c->error, what) != NULL;
}

/* Not all of curl's descriptors are asked of us: a lookup has some of its own. */
static bool lacks_descriptors(const struct transport_loop *l)
{
    int error = l->open_error;
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
        return true;
    CLEANUP(own_close) int fd = fcntl(l->wake, F_DUPFD_CLOEXEC, 0);
    return fd < 0;
}

static enum call_outcome of_handshake(const struct call *c)
{
    /* cut off in the middle of it, rather than refused for what was shown */
    bool is_cut = !says(c, "error:") || says(c, "unexpected eof");
    return is_cut ? CALL_unreachable : CALL_untrusted;
}

/* Something went wrong while bytes went to and fro. */
static enum call_outcome of_exchange(const struct call *c, CURLcode result)
{
    if (result == CURLE_RECV_ERROR && (says(c, "chunk") || says(c, "headers")))
        return CALL_malformed;
    return c->has_head ? CALL_truncated : CALL_broken;
}

static enum call_outcome of_success(const struct call *c)
{
    if (!c->has_head)
        return CALL_broken; /* curl is content with half a head */
    return c->coding && !coding_is_whole(c->coding) ? CALL_truncated : CALL_complete;
}

static enum call_outcome outcome_of(const struct call *c, CURLcode result)
{
    switch (result) {
    case CURLE_OK:
        return of_success(c);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
        return lacks_descriptors(c->loop) ? CALL_failed : CALL_unreachable;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return CALL_untrusted;
    case CURLE_SSL_CONNECT_ERROR:
        return of_handshake(c);
    case CURLE_OPERATION_TIMEDOUT: /* curl's own, of connecting */
        return c->connect_us ? CALL_timeout_total : CALL_timeout_connect;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return of_exchange(c, result);
    case CURLE_UNSUPPORTED_PROTOCOL:
        return c->connect_us ? CALL_malformed : CALL_failed; /* HTTP/0.9 and other nonsense */
    case CURLE_WEIRD_SERVER_REPLY:
        return CALL_malformed;
    case CURLE_OUT_OF_MEMORY:
        /* what curl says of a line beyond its bounds, too */
        return c->first_byte_us && !c->has_head ? CALL_malformed : CALL_failed;
    default:
        return CALL_failed;
    }
}

/* Control characters would break a log's line. */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

static const char *text_of(const struct call *c, CURLcode result, enum call_outcome outcome)
{
    if (c->is_malformed)
        return c->why;
    if (c->is_stopped || outcome == CALL_complete)
        return NULL;
    if (result == CURLE_OK)
        return c->has_head ? "the packed body ends in the middle" : "the head ends in the middle";
    return c->error[0] ? c->error : curl_easy_strerror(result);
}

void call_judge(const struct call *c, CURLcode result, struct call_end *end)
{
    if (c->is_stopped)
        end->outcome = c->verdict;
    else if (c->is_malformed)
        end->outcome = CALL_malformed;
    else
        end->outcome = outcome_of(c, result);
    c->loop->open_error = 0;
    const char *text = text_of(c, result, end->outcome);
    const char *word = call_outcome_word(end->outcome);
    if (text) {
        (void)snprintf(end->message, sizeof(end->message), "%s: %.100s", word, text);
        clean(end->message);
    } else {
        memcpy(end->message, word, strlen(word) + 1);
    }
    end->was_sent = c->was_sent;
    end->has_head = c->has_head;
    end->was_reused = c->was_reused;
    if (c->connect_us) /* a pooled one may be there at once: 0 would say that there was none */
        end->connect_us = c->connect_us > c->start_us ? c->connect_us - c->start_us : 1;
    if (c->first_byte_us)
        end->first_byte_us = c->first_byte_us - c->start_us;
    end->total_us = c->loop->now_us - c->start_us;
    end->sent = c->sent;
    end->received = c->received;
}
