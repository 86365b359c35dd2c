#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>

#include "engine/local/structure.h"
#include "engine/local/tokenizer.h"
#include "tests/unit/engine/engine_models.h"

static struct chat_request structured(enum chat_format format, const char *text, uint32_t max)
{
    struct chat_request r = fixture_prompt(prompts[0], max);
    r.format = format;
    r.format_text = str_of(text);
    r.format_param = "response_format";
    return r;
}

static void heat(struct chat_request *r, uint64_t seed)
{
    r->sampling.temperature = 1.5f;
    r->sampling.seed = seed;
    r->sampling.has_seed = true;
}

static void run(struct engine *e, struct record *r, const struct chat_request *request)
{
    record_init(r);
    struct engine_spec spec = fixture_spec(request, NULL, r);
    fixture_run(e, &spec);
    assert_int_equal(r->last, ENGINE_EVENT_done);
}

/* ---- what comes out ---- */

#define COLORS "[\"red\",\"green\",\"a \\\"blue\\\" one\",\"grün\"]"

static bool is_color(const char *text)
{
    return !strcmp(text, "red") || !strcmp(text, "green") || !strcmp(text, "a \"blue\" one") ||
           !strcmp(text, "grün");
}

static void a_choice_is_one_of_its_texts(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    unsigned n_different = 0;
    char first[32] = "";
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct chat_request request = structured(CHAT_FORMAT_choice, COLORS, 40);
        heat(&request, seed);
        request.ignore_eos = seed % 2; /* nothing can follow: it ends all the same */
        run(e, &r, &request);
        assert_int_equal(r.finish, FINISH_stop);
        if (!is_color(record_text(&r)))
            fail_msg("'%s'", record_text(&r));
        n_different += first[0] && strcmp(first, record_text(&r)) != 0;
        (void)snprintf(first, sizeof(first), "%s", record_text(&r));
        record_done(&r);
    }
    assert_true(n_different > 0);
}

#define THING                                                                                      \
    "{\"type\":\"object\",\"properties\":{\"color\":{\"enum\":[\"red\",\"blue\"]},"                \
    "\"n\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99},\"ok\":{\"type\":\"boolean\"}},"    \
    "\"required\":[\"color\",\"n\",\"ok\"],\"additionalProperties\":false}"

static bool is_thing(const char *text)
{
    json_auto_t *v = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *color = json_string_value(json_object_get(v, "color"));
    const json_t *n = json_object_get(v, "n");
    return json_object_size(v) == 3 && color && (!strcmp(color, "red") || !strcmp(color, "blue")) &&
           json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) <= 99 &&
           json_is_boolean(json_object_get(v, "ok"));
}

static void a_schema_is_kept_by_every_draw(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct chat_request request = structured(CHAT_FORMAT_json_schema, THING, 110);
        heat(&request, seed);
        request.ignore_eos = seed % 2;
        run(e, &r, &request);
        assert_int_equal(r.finish, FINISH_stop);
        if (!is_thing(record_text(&r)))
            fail_msg("seed %u: %s", (unsigned)seed, record_text(&r));
        record_done(&r);
    }
}

static void a_json_object_is_whole_or_cut_by_length(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    unsigned n_whole = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct chat_request request = structured(CHAT_FORMAT_json_object, "", 100);
        heat(&request, seed);
        run(e, &r, &request);
        json_auto_t *v = json_loads(record_text(&r), JSON_REJECT_DUPLICATES, NULL);
        if (r.finish == FINISH_stop ? !json_is_object(v) : r.usage.completion_tokens != 100)
            fail_msg("seed %u: %s", (unsigned)seed, record_text(&r));
        n_whole += r.finish == FINISH_stop;
        record_done(&r);
    }
    assert_true(n_whole > 0);
}

static void expressions_and_grammars_are_followed(void **state)
{
    static const struct {
        enum chat_format format;
        const char *text;
        size_t n; /* bytes of every whole text */
    } rows[] = {
        { CHAT_FORMAT_regex, "[a-f]{3}-[0-9]{4}", 8 },
        { CHAT_FORMAT_regex, "^[a-f]{3}-[0-9]{4}$", 8 },
        { CHAT_FORMAT_regex, "ab|cd", 2 },
        { CHAT_FORMAT_regex, "^ab|cd$", 2 },
        { CHAT_FORMAT_grammar, "root ::= word \" \" word\nword ::= [xyz] [xyz]", 5 },
    };
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct chat_request request = structured(rows[i].format, rows[i].text, 30);
            heat(&request, seed);
            request.ignore_eos = true;
            run(e, &r, &request);
            assert_int_equal(r.finish, FINISH_stop);
            assert_int_equal(r.text.n, rows[i].n);
            record_done(&r);
        }
}

/* ---- limits still hold ---- */

static void max_tokens_cuts_and_stop_strings_stop(void **state)
{
    static struct record whole, r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_request request = structured(CHAT_FORMAT_json_schema, THING, 100);
    run(e, &whole, &request);
    assert_true(is_thing(record_text(&whole)));
    for (uint32_t max = 1; max < 6; max++) {
        request.max_tokens = max;
        run(e, &r, &request);
        assert_int_equal(r.finish, FINISH_length);
        assert_int_equal(r.usage.completion_tokens, max);
        assert_true(str_starts(buf_str(&whole.text), buf_str(&r.text)));
        record_done(&r);
    }
    struct str stop = STR("\"n\"");
    request.max_tokens = 100;
    request.stops = &stop;
    request.n_stops = 1;
    run(e, &r, &request);
    assert_int_equal(r.finish, FINISH_stop);
    assert_int_equal(r.text.n, str_find(buf_str(&whole.text), stop));
    record_done(&r);
    record_done(&whole);
}

static void an_end_that_is_ignored_leaves_what_the_grammar_leaves(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_request request = structured(CHAT_FORMAT_regex, "[a-z]*", 25);
    request.ignore_eos = true;
    run(e, &r, &request);
    assert_int_equal(r.finish, FINISH_length); /* it could go on for ever */
    assert_int_equal(r.usage.completion_tokens, 25);
    for (size_t i = 0; i < r.text.n; i++)
        assert_in_range(r.text.p[i], 'a', 'z');
    record_done(&r);
    request.format_text = STR("");
    run(e, &r, &request);
    assert_int_equal(r.finish, FINISH_stop); /* nothing at all */
    assert_int_equal(r.usage.completion_tokens, 0);
    record_done(&r);
    request = structured(CHAT_FORMAT_choice, "[\"yes\"]", 25);
    request.min_tokens = 20;
    run(e, &r, &request);
    assert_int_equal(r.finish, FINISH_stop); /* nothing can follow */
    assert_string_equal(record_text(&r), "yes");
    record_done(&r);
}

/* ---- the choice among what is allowed ---- */

static void keep_first(void *arg, const struct engine_event *event)
{
    float *first = arg;
    if (*first > 0 && event->n_tokens)
        *first = event->tokens[0].chosen.logprob;
}

/* Log-probability of the first token of `text`, which is forced. */
static float first_logprob(struct engine *e, const char *text)
{
    static struct record r;
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    assert_int_equal(tokenizer_encode(engine_local_tokenizer(e), str_of(text), 0, &ids), 0);
    assert_int_equal(ids.n, 1);
    struct chat_logit_bias bias = { ids.ids[0], 100 };
    struct chat_request request = fixture_prompt(prompts[0], 1);
    request.logprobs = true;
    request.sampling.bias = &bias;
    request.sampling.n_bias = 1;
    float first = 1;
    record_init(&r);
    r.on_text = keep_first;
    r.on_text_arg = &first;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    fixture_run(e, &spec);
    record_done(&r);
    return first;
}

static void the_likeliest_allowed_token_wins_and_shows_its_raw_logprob(void **state)
{
    static const char *const texts[] = { "x", "y", "7", "q", "!" };
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    float best = -INFINITY, shown = 1;
    const char *want = NULL;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        float logprob = first_logprob(e, texts[i]);
        if (logprob > best) {
            best = logprob;
            want = texts[i];
        }
    }
    struct chat_request request =
        structured(CHAT_FORMAT_choice, "[\"x\",\"y\",\"7\",\"q\",\"!\"]", 5);
    request.logprobs = true;
    record_init(&r);
    r.on_text = keep_first;
    r.on_text_arg = &shown;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    fixture_run(e, &spec);
    assert_string_equal(record_text(&r), want);
    assert_true(shown == best);
    record_done(&r);
}

/* ---- forced calls ---- */

struct calls {
    pthread_mutex_t lock;
    struct {
        char name[32], arguments[512];
    } at[8];
    size_t n;
    struct buf text;
    enum finish_reason finish;
    bool over;
};

static void take_call(void *owner, const struct engine_event *e)
{
    struct calls *c = owner;
    LOCKED(&c->lock);
    if (e->kind == ENGINE_EVENT_text)
        buf_add(&c->text, e->text);
    if (e->kind == ENGINE_EVENT_tool_call) {
        CHECK(e->call.index < ARRAY_LEN(c->at));
        if (e->call.index == c->n) {
            CHECK(e->call.id.n > 0);
            (void)snprintf(c->at[c->n].name, sizeof(c->at[0].name), STR_FMT, STR_ARG(e->call.name));
            c->n++;
        }
        char *arguments = c->at[e->call.index].arguments;
        size_t n = strlen(arguments);
        (void)snprintf(arguments + n, sizeof(c->at[0].arguments) - n, STR_FMT,
                       STR_ARG(e->call.arguments));
    }
    if (e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed) {
        CHECK(e->kind == ENGINE_EVENT_done);
        c->finish = e->finish;
        c->over = true;
    }
}

static void run_calls(struct engine *e, struct calls *c, const struct chat_request *request)
{
    *c = (struct calls){ .text = BUF_INIT(65536) };
    (void)pthread_mutex_init(&c->lock, NULL);
    struct engine_spec spec = {
        .request = request, .deadline_ms = CLOCK_NEVER, .on_event = take_call, .owner = c
    };
    struct engine_job *job = fixture_submit(e, &spec);
    for (bool over = false; !over; fixture_nap(500)) {
        LOCKED(&c->lock);
        over = c->over;
    }
    (void)engine_job_unref(job);
}

static void check_call(const char *name, const char *arguments)
{
    json_auto_t *v = json_loads(arguments, JSON_REJECT_DUPLICATES, NULL);
    if (strcmp(name, "paint") == 0) {
        const char *color = json_string_value(json_object_get(v, "color"));
        assert_int_equal(json_object_size(v), 1);
        assert_true(color && (!strcmp(color, "red") || !strcmp(color, "blue")));
    } else {
        assert_string_equal(name, "count");
        assert_in_range(json_integer_value(json_object_get(v, "n")), 1, 3);
    }
}

#define TOOL(name, parameters)                                                                     \
    {                                                                                              \
        STR_(name), STR_("what it does"), STR_(parameters),                                        \
            STR_("{\"type\":\"function\",\"function\":{\"name\":\"" name                           \
                 "\",\"parameters\":" parameters "}}")                                             \
    }
#define STR_(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define PAINT                                                                                      \
    "{\"type\":\"object\",\"properties\":{\"color\":{\"enum\":[\"red\",\"blue\"]}},\"required\":[" \
    "\"color\"],\"additionalProperties\":false}"
#define COUNT                                                                                      \
    "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":"  \
    "3}},"                                                                                         \
    "\"required\":[\"n\"],\"additionalProperties\":false}"

static const struct chat_tool tools[] = { TOOL("paint", PAINT), TOOL("count", COUNT) };

static struct chat_request calling(enum tool_choice choice, uint64_t seed)
{
    static struct chat_message message = { .role = STR_("user"), .content = STR_("Go on.") };
    struct chat_request r = {
        .messages = &message,
        .n_messages = 1,
        .tools = tools,
        .n_tools = ARRAY_LEN(tools),
        .tools_json = STR("[{},{}]"), /* for the cache's key */
        .tool_choice = choice,
        .single_tool_call = true,
        .sampling = SAMPLING_INIT,
        .max_tokens = 100,
        .n = 1,
    };
    if (choice == TOOL_CHOICE_function)
        r.tool_choice_name = STR("count");
    heat(&r, seed);
    return r;
}

static void forced_calls_are_made_with_valid_arguments(void **state)
{
    static struct calls c;
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .context = 512 });
    unsigned n_paint = 0, n_count = 0;
    for (uint64_t seed = 0; seed < 24; seed++) {
        bool named = seed % 2;
        struct chat_request request =
            calling(named ? TOOL_CHOICE_function : TOOL_CHOICE_required, seed);
        run_calls(e, &c, &request);
        assert_int_equal(c.n, 1);
        assert_int_equal(c.text.n, 0);
        assert_int_equal(c.finish, named ? FINISH_stop : FINISH_tool_calls);
        check_call(c.at[0].name, c.at[0].arguments);
        assert_true(!named || !strcmp(c.at[0].name, "count"));
        n_paint += !strcmp(c.at[0].name, "paint");
        n_count += !strcmp(c.at[0].name, "count");
        buf_done(&c.text);
    }
    assert_true(n_paint > 0 && n_count > 0);
}

/* With a format and tools that may be called, an answer is one or the other. */
static void a_format_leaves_room_for_calls(void **state)
{
    static struct calls c;
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .context = 512 });
    unsigned n_text = 0;
    for (uint64_t seed = 0; seed < 16; seed++) {
        struct chat_request request = calling(TOOL_CHOICE_auto, seed);
        request.format = CHAT_FORMAT_json_schema;
        request.format_text = STR(THING);
        request.format_param = "response_format";
        run_calls(e, &c, &request);
        assert_true((c.n == 1) != (c.text.n > 0));
        if (c.n)
            check_call(c.at[0].name, c.at[0].arguments);
        else
            assert_true(is_thing(c.text.p));
        n_text += c.n == 0;
        buf_done(&c.text);
    }
    assert_true(n_text > 0);
}

/* ---- in company ---- */

static struct chat_request mixed_request(size_t i)
{
    struct chat_request r = varied_request(i);
    static const struct {
        enum chat_format format;
        const char *text;
    } formats[] = {
        { CHAT_FORMAT_text, "" },
        { CHAT_FORMAT_json_schema, THING },
        { CHAT_FORMAT_choice, COLORS },
        { CHAT_FORMAT_json_object, "" },
        { CHAT_FORMAT_grammar, "root ::= ([a-z]+ \" \")+" },
    };
    r.format = formats[i % ARRAY_LEN(formats)].format;
    r.format_text = str_of(formats[i % ARRAY_LEN(formats)].text);
    r.format_param = "response_format";
    return r;
}

static void structured_text_is_the_same_alone_and_in_company(void **state)
{
    enum { N = 20 };
    static struct record r[N], alone;
    struct engine_job *jobs[N];
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .slots = 5, .batch = 24 });
    for (size_t i = 0; i < N; i++) {
        struct chat_request request = mixed_request(i);
        record_init(&r[i]);
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        spec.choice = (uint32_t)(i % 3);
        jobs[i] = fixture_submit(e, &spec);
    }
    for (size_t i = 0; i < N; i++) {
        record_wait(&r[i]);
        (void)engine_job_unref(jobs[i]);
        struct chat_request request = mixed_request(i);
        run_alone(&alone, &request, (uint32_t)(i % 3), SIZE_MAX);
        assert_same(&alone, &r[i]);
        record_done(&alone);
        record_done(&r[i]);
    }
}

/* More grammars than are kept, compiled by several threads, all of them in use at once. */
struct compiler {
    pthread_t thread;
    struct engine *e;
    unsigned from;
};

static void *compile_many(void *arg)
{
    const struct compiler *c = arg;
    for (unsigned i = 0; i < 50; i++) {
        struct record *r = calloc(1, sizeof(*r));
        char text[64], want[32];
        (void)snprintf(want, sizeof(want), "word %u", (c->from + i) % 60);
        (void)snprintf(text, sizeof(text), "[\"%s\"]", want);
        struct chat_request request = structured(CHAT_FORMAT_choice, text, 30);
        CHECK(r);
        record_init(r);
        struct engine_spec spec = fixture_spec(&request, NULL, r);
        fixture_run(c->e, &spec);
        CHECK(strcmp(record_text(r), want) == 0);
        record_done(r);
        free(r);
    }
    return NULL;
}

static void grammars_come_and_go_under_many_threads(void **state)
{
    struct compiler c[4];
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = (struct compiler){ .e = e, .from = i / 2 * 20 };
        assert_int_equal(thread_start(&c[i].thread, THREAD_worker, compile_many, &c[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(pthread_join(c[i].thread, NULL), 0);
}

/* ---- refusals ---- */

static void what_means_nothing_is_refused_with_its_field(void **state)
{
    static const struct {
        enum chat_format format;
        const char *text;
    } rows[] = {
        { CHAT_FORMAT_json_schema, "{\"type\":\"nothing\"}" },
        { CHAT_FORMAT_json_schema, "{\"enum\":[]}" },
        { CHAT_FORMAT_json_schema, "{\"$ref\":\"#/nowhere\"}" },
        { CHAT_FORMAT_json_schema, "{\"type\":" },
        { CHAT_FORMAT_regex, "a(b" },
        { CHAT_FORMAT_regex, "a)(b" },
        { CHAT_FORMAT_grammar, "root ::= [a" },
        { CHAT_FORMAT_grammar, "root ::= other" },
        { CHAT_FORMAT_grammar, "leaf ::= \"a\"" },
    };
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_request request = structured(rows[i].format, rows[i].text, 5);
        struct engine_spec spec = fixture_spec(&request, NULL, NULL);
        struct engine_job *job = NULL;
        struct fail f = { 0 };
        if (engine_submit(e, &job, &spec, &f) != FAILED || f.code != FAIL_invalid_request ||
            !str_starts(str_of(f.param), STR("response_format")) || f.message[0] == '\0')
            fail_msg("%s: param '%s', message '%s'", rows[i].text, f.param, f.message);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_is_one_of_its_texts),
        cmocka_unit_test(a_schema_is_kept_by_every_draw),
        cmocka_unit_test(a_json_object_is_whole_or_cut_by_length),
        cmocka_unit_test(expressions_and_grammars_are_followed),
        cmocka_unit_test(max_tokens_cuts_and_stop_strings_stop),
        cmocka_unit_test(an_end_that_is_ignored_leaves_what_the_grammar_leaves),
        cmocka_unit_test(the_likeliest_allowed_token_wins_and_shows_its_raw_logprob),
        cmocka_unit_test(forced_calls_are_made_with_valid_arguments),
        cmocka_unit_test(a_format_leaves_room_for_calls),
        cmocka_unit_test(structured_text_is_the_same_alone_and_in_company),
        cmocka_unit_test(grammars_come_and_go_under_many_threads),
        cmocka_unit_test(what_means_nothing_is_refused_with_its_field),
    };
    test_begin();
    return cmocka_run_group_tests(tests, find_model, NULL);
}
