/*
 * What the mock upstream is told to do with one request: words of a script.
 *
 * A script stands anywhere in a request (a message, the model's name, a header) as
 * "mock[WORD WORD …]", or is posted to /_mock. A word is a flag or NAME=VALUE; tests/README.md
 * lists them. Scripts of a request's tries are parted by "|": with "id=NAME" the k-th request of
 * that id does what the k-th part says, further ones what the last says.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

enum { MOCK_NEVER = UINT32_MAX, MOCK_NAME = 64, MOCK_VALUE = 256 };

/* What happens at the point. */
enum mock_do { MOCK_DO_go, MOCK_DO_rst, MOCK_DO_fin, MOCK_DO_stall, MOCK_DO_hold };

enum mock_at {
    MOCK_AT_request, /* it was read, nothing is answered */
    MOCK_AT_midhead,
    MOCK_AT_head,  /* all of it, and nothing more */
    MOCK_AT_frame, /* before text frame K: K were sent whole */
    MOCK_AT_mid,   /* within text frame K; of a whole answer: in its middle */
    MOCK_AT_done,  /* before the sign of the stream's end */
    MOCK_AT_end,   /* the body is whole, what ends it in HTTP is not sent */
    MOCK_AT_after, /* the answer is complete */
};

enum mock_text { MOCK_TEXT_words, MOCK_TEXT_unicode, MOCK_TEXT_utf8, MOCK_TEXT_surrogate };
enum mock_eol { MOCK_EOL_own, MOCK_EOL_lf, MOCK_EOL_crlf, MOCK_EOL_cr, MOCK_EOL_mixed };
enum mock_usage { MOCK_USAGE_auto, MOCK_USAGE_always, MOCK_USAGE_never };
enum mock_finish {
    MOCK_FINISH_stop,
    MOCK_FINISH_length,
    MOCK_FINISH_none,
    MOCK_FINISH_twice,
    MOCK_FINISH_weird,
};
enum mock_framing {
    MOCK_FRAMING_own,
    MOCK_FRAMING_chunked,
    MOCK_FRAMING_length,
    MOCK_FRAMING_close
};
enum mock_kind { MOCK_KIND_json, MOCK_KIND_html, MOCK_KIND_empty, MOCK_KIND_garbage };
enum mock_frame { MOCK_FRAME_good, MOCK_FRAME_crc, MOCK_FRAME_truncated }; /* of Bedrock */

struct mock_script {
    char id[MOCK_NAME];
    uint32_t status;
    uint32_t frames, size; /* text frames; bytes of text of each, at least */
    uint32_t big;          /* bytes of text of one more frame at the end; 0: none */
    uint32_t first_ms;     /* before the head */
    uint32_t delay_ms;     /* after the head */
    uint32_t gap_ms;       /* between frames */
    uint32_t piece;        /* bytes of body in one write and one chunk; 0: as it comes */
    uint32_t pace_ms;      /* between pieces */
    uint32_t split;        /* the body is written in two parts, the first of so many bytes */
    uint32_t error_at;     /* an error in the stream before text frame K; MOCK_NEVER */
    uint32_t lie;          /* Content-Length is so many bytes too long */
    uint32_t head_bytes;   /* one more header of so many bytes */
    uint32_t at_frame;     /* K of the point */
    unsigned action;       /* enum mock_do */
    unsigned at;           /* enum mock_at */
    unsigned text, eol, usage, finish, framing, kind, frame;
    bool tools, think;
    bool bom, comments, lines; /* a BOM; comments between events; data over several lines */
    bool nulls;                /* "usage": null in every event */
    bool strange;              /* events without choices in between */
    bool nodone;               /* no sign of the end */
    bool gzip;
    bool stale;  /* closes when the connection's next request comes */
    bool hint;   /* 103 before the head */
    bool nohttp; /* something else than HTTP is spoken */
    bool bare;   /* the error in the stream is the first event: no start before it */
    char retry_after[MOCK_NAME];
    char location[MOCK_VALUE];
    char header[MOCK_VALUE]; /* one more: "name:value"; "_" stands for a blank */
};

void mock_script_init(struct mock_script *s);
/* Part `number` (from 0) of the script, or its last. 0; -EINVAL: *ret_word is what is not
 * understood. */
int mock_script_parse(struct mock_script *ret, struct str script, unsigned number,
                      struct str *ret_word);
/* Its "id" alone: a view of it, or empty. */
struct str mock_script_id(struct str script);
/* The script in a request's bytes: what stands between "mock[" and "]"; STR_NULL: none. */
struct str mock_script_find(struct str bytes);
