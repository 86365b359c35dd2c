#include "adapters/blobs/s3_list.h"

#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"

#define MAX_BYTES (8 * MIB) /* a thousand keys of a kilobyte, and room */

struct s3_listing {
    XML_Parser parser;
    struct blob_page *page; /* owned */
    unsigned depth;
    bool is_result, ended, in_object;
    struct buf text; /* of the element */
    char key[1100];
    struct blob_stat stat;
    bool truncated;
    int err;
    size_t bytes;
};

static void XMLCALL on_start(void *ctx, const char *name, const char **attributes)
{
    struct s3_listing *l = ctx;
    (void)attributes;
    if (l->depth++ == 0)
        l->is_result = strcmp(name, "ListBucketResult") == 0;
    buf_clear(&l->text);
    if (l->depth == 2 && strcmp(name, "Contents") == 0) {
        l->in_object = true;
        l->key[0] = '\0';
        l->stat = (struct blob_stat){ 0 };
    }
}

static void XMLCALL on_text(void *ctx, const char *p, int n)
{
    struct s3_listing *l = ctx;
    if (n > 0)
        buf_add(&l->text, (struct str){ p, (size_t)n });
}

/* "2009-10-12T17:50:30.000Z" */
static uint64_t read_time(const char *text)
{
    struct tm t = { 0 };
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    time_t s = end ? timegm(&t) : 0;
    return s > 0 ? (uint64_t)s : 0;
}

/* An object named .../<hex> is a blob. */
static void end_object(struct s3_listing *l)
{
    const char *slash = strrchr(l->key, '/');
    struct sha256 digest;
    l->in_object = false;
    if (!slash || sha256_parse(&digest, str_of(slash + 1)) < 0)
        return;
    if (l->page->n == BLOB_PAGE) {
        l->err = -EBADMSG; /* more than were asked for */
        return;
    }
    l->page->items[l->page->n++] = (struct blob_listed){ digest, l->stat };
}

static void copy(char *ret, size_t room, struct str s, int *err)
{
    if (s.n >= room)
        *err = -EBADMSG;
    else
        (void)snprintf(ret, room, "%.*s", STR_ARG(s));
}

static void end_field(struct s3_listing *l, const char *name, struct str text)
{
    if (l->in_object && strcmp(name, "Key") == 0)
        copy(l->key, sizeof(l->key), text, &l->err);
    else if (l->in_object && strcmp(name, "Size") == 0)
        l->err =
            num_parse_u64(&l->stat.bytes, str_trim(text), 0, INT64_MAX) < 0 ? -EBADMSG : l->err;
    else if (l->in_object && strcmp(name, "LastModified") == 0 && text.n)
        l->stat.modified_s = read_time(text.p); /* the buffer ends with a NUL */
    else if (l->depth == 2 && strcmp(name, "IsTruncated") == 0)
        l->truncated = str_is(str_trim(text), "true");
    else if (l->depth == 2 && strcmp(name, "NextContinuationToken") == 0)
        copy(l->page->cursor, sizeof(l->page->cursor), text, &l->err);
}

static void XMLCALL on_end(void *ctx, const char *name)
{
    struct s3_listing *l = ctx;
    if (l->depth == 2 && l->in_object)
        end_object(l);
    else
        end_field(l, name, buf_str(&l->text));
    buf_clear(&l->text);
    if (--l->depth == 0)
        l->ended = true;
}

/* A listing has no document type, so there are no entities to expand. */
static void XMLCALL on_doctype(void *ctx, const char *name, const char *system_id,
                               const char *public_id, int internal)
{
    struct s3_listing *l = ctx;
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)internal;
    l->err = -EBADMSG;
    (void)XML_StopParser(l->parser, XML_FALSE);
}

int s3_listing_new(struct s3_listing **ret)
{
    CLEANUP(s3_listing_freep) struct s3_listing *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->text = BUF_INIT(16 * KIB);
    l->page = calloc(1, sizeof(*l->page));
    l->parser = XML_ParserCreate("UTF-8");
    if (!l->page || !l->parser)
        return -ENOMEM;
    XML_SetUserData(l->parser, l);
    XML_SetElementHandler(l->parser, on_start, on_end);
    XML_SetCharacterDataHandler(l->parser, on_text);
    XML_SetStartDoctypeDeclHandler(l->parser, on_doctype);
    *ret = TAKE(l);
    return 0;
}

struct s3_listing *s3_listing_free(struct s3_listing *l)
{
    if (!l)
        return NULL;
    XML_ParserFree(l->parser); /* NULL is fine */
    buf_done(&l->text);
    free(l->page);
    free(l);
    return NULL;
}

int s3_listing_add(void *ctx, struct str part)
{
    struct s3_listing *l = ctx;
    l->bytes += part.n;
    if (l->err == 0 && l->bytes > MAX_BYTES)
        l->err = -EBADMSG;
    if (l->err == 0 && XML_Parse(l->parser, part.p, (int)part.n, XML_FALSE) != XML_STATUS_OK)
        l->err = -EBADMSG;
    if (l->err == 0 && buf_err(&l->text) < 0)
        l->err = buf_err(&l->text) == -ENOMEM ? -ENOMEM : -EBADMSG;
    return l->err;
}

int s3_listing_end(struct s3_listing *l, struct blob_page *ret)
{
    if (l->err < 0)
        return l->err;
    if (!l->is_result || !l->ended || (l->truncated && !l->page->cursor[0]))
        return -EBADMSG;
    l->page->last = !l->truncated;
    *ret = *l->page;
    return 0;
}
