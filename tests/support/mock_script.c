#include "tests/support/mock_script.h"

#include "base/num.h"
#include "base/own.h"

#include <errno.h>

enum word_kind { WORD_flag, WORD_u32, WORD_text, WORD_choice };

struct word {
    const char *name;
    enum word_kind kind;
    size_t place;
    size_t room;                /* of a text */
    const char *const *choices; /* NULL ends */
};

static const char *const texts[] = { "words", "unicode", "utf8", "surrogate", NULL };
static const char *const eols[] = { "own", "lf", "crlf", "cr", "mixed", NULL };
static const char *const usages[] = { "auto", "always", "never", NULL };
static const char *const finishes[] = { "stop", "length", "none", "twice", "weird", NULL };
static const char *const framings[] = { "own", "chunked", "length", "close", NULL };
static const char *const kinds[] = { "json", "html", "empty", "garbage", NULL };
static const char *const frame_kinds[] = { "good", "crc", "truncated", NULL };
static const char *const actions[] = { "go", "rst", "fin", "stall", "hold", NULL };
static const char *const points[] = { "request", "midhead", "head",  "frame", "mid",
                                      "done",    "end",     "after", NULL };

#define PLACE(field) offsetof(struct mock_script, field)
#define NUMBER(name, field)                                                                        \
    {                                                                                              \
        name, WORD_u32, PLACE(field)                                                               \
    }
#define FLAG(field)                                                                                \
    {                                                                                              \
#field, WORD_flag, PLACE(field)                                                            \
    }
#define CHOICE(field, of)                                                                          \
    {                                                                                              \
#field, WORD_choice, PLACE(field), .choices = (of)                                         \
    }
#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, WORD_text, PLACE(field), sizeof(((struct mock_script *)NULL)->field)                 \
    }

static const struct word words[] = {
    TEXT("id", id),
    TEXT("retry-after", retry_after),
    TEXT("location", location),
    TEXT("header", header),
    NUMBER("status", status),
    NUMBER("frames", frames),
    NUMBER("size", size),
    NUMBER("big", big),
    NUMBER("first", first_ms),
    NUMBER("delay", delay_ms),
    NUMBER("gap", gap_ms),
    NUMBER("piece", piece),
    NUMBER("pace", pace_ms),
    NUMBER("split", split),
    NUMBER("error", error_at),
    NUMBER("lie", lie),
    NUMBER("head", head_bytes),
    CHOICE(text, texts),
    CHOICE(eol, eols),
    CHOICE(usage, usages),
    CHOICE(finish, finishes),
    CHOICE(framing, framings),
    CHOICE(kind, kinds),
    CHOICE(frame, frame_kinds),
    FLAG(tools),
    FLAG(think),
    FLAG(bom),
    FLAG(comments),
    FLAG(lines),
    FLAG(nulls),
    FLAG(strange),
    FLAG(nodone),
    FLAG(gzip),
    FLAG(stale),
    FLAG(hint),
    FLAG(nohttp),
    FLAG(bare),
};

void mock_script_init(struct mock_script *s)
{
    *s = (struct mock_script){ .status = 200, .frames = 4, .error_at = MOCK_NEVER };
}

static int choice_of(unsigned *ret, const char *const *choices, struct str word)
{
    for (unsigned i = 0; choices[i]; i++)
        if (str_is(word, choices[i])) {
            *ret = i;
            return 0;
        }
    return -EINVAL;
}

/* "rst@head", "fin@mid:3" */
static int point_of(struct mock_script *s, struct str action, struct str at)
{
    struct str point, place;
    uint64_t k = 0;

    if (!str_cut(at, ':', &point, &place))
        point = at;
    else if (num_parse_u64(&k, place, 0, MOCK_NEVER - 1) < 0)
        return -EINVAL;
    s->at_frame = (uint32_t)k;
    if (choice_of(&s->action, actions, action) < 0)
        return -EINVAL;
    return choice_of(&s->at, points, point);
}

static int word_set(struct mock_script *s, const struct word *w, struct str value)
{
    char *place = (char *)s + w->place;
    uint64_t number = 0;
    int r;

    switch (w->kind) {
    case WORD_flag:
        *(bool *)place = true;
        return value.n ? -EINVAL : 0;
    case WORD_u32:
        r = num_parse_u64(&number, value, 0, MOCK_NEVER);
        if (r == 0)
            *(uint32_t *)(void *)place = (uint32_t)number;
        return r < 0 ? -EINVAL : 0;
    case WORD_choice:
        return choice_of((unsigned *)(void *)place, w->choices, value);
    case WORD_text:
        break;
    }
    if (value.n >= w->room)
        return -EINVAL;
    for (size_t i = 0; i < value.n; i++)
        place[i] = (char)(value.p[i] == '_' && w->place != PLACE(id) ? ' ' : value.p[i]);
    place[value.n] = '\0';
    return 0;
}

static int word_take(struct mock_script *s, struct str word)
{
    struct str name = word, value = STR_NULL;

    if (str_cut(word, '@', &name, &value) && choice_of(&(unsigned){ 0 }, actions, name) == 0)
        return point_of(s, name, value);
    value = STR_NULL;
    if (!str_cut(word, '=', &name, &value))
        name = word;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_is(name, words[i].name))
            return word_set(s, &words[i], value);
    return -EINVAL;
}

/* Part `number`, or the last one. */
static struct str part_of(struct str script, unsigned number)
{
    struct str part, rest;

    while (str_cut(script, '|', &part, &rest)) {
        if (number-- == 0)
            return part;
        script = rest;
    }
    return script;
}

static bool next_word(struct str *text, struct str *ret)
{
    *text = str_trim(*text);
    if (!text->n)
        return false;
    if (!str_cut(*text, ' ', ret, text)) {
        *ret = *text;
        *text = STR_NULL;
    }
    return true;
}

struct str mock_script_id(struct str script)
{
    struct str text = part_of(script, 0), word;

    while (next_word(&text, &word))
        if (str_starts(word, STR("id=")))
            return str_sub(word, 3);
    return STR_NULL;
}

int mock_script_parse(struct mock_script *ret, struct str script, unsigned number,
                      struct str *ret_word)
{
    struct str text = part_of(script, number), word;

    mock_script_init(ret);
    while (next_word(&text, &word))
        if (word_take(ret, word) < 0) {
            *ret_word = word;
            return -EINVAL;
        }
    struct str id = str_head(mock_script_id(script), sizeof(ret->id) - 1);
    memcpy(ret->id, id.p ? id.p : "", id.n);
    ret->id[id.n] = '\0';
    return 0;
}

struct str mock_script_find(struct str bytes)
{
    ptrdiff_t at = str_find(bytes, STR("mock["));
    struct str script, rest;

    if (at < 0 || !str_cut(str_sub(bytes, (size_t)at + 5), ']', &script, &rest))
        return STR_NULL;
    return script.n ? script : STR(" ");
}
