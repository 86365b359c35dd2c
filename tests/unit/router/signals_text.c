/*
 * Structure, language, context and event rules on tables of texts worked out by hand.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"
#include "router/signals/language.h"

#include <math.h>
#include <string.h>

/* A policy of one rule "r" of a family; the rest of its map is `rule`. */
static struct router *one_rule(const char *key, const char *type, const char *rule,
                               struct config **c)
{
    struct buf b = BUF_INIT(MIB);
    buf_addf(&b,
             "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
             "routing:\n"
             "  signals:\n"
             "    %s:\n"
             "      - {%s}\n"
             "  decisions:\n"
             "    - {name: hit, rules: {type: %s, name: r}, modelRefs: [{model: m}]}\n",
             key, rule, type);
    struct router *r = policy_from(b.p, c);
    buf_done(&b);
    return r;
}

static struct route_signal signal_of(const char *key, const char *type, const char *rule,
                                     const char *text)
{
    struct config *c = NULL;
    struct router *r = one_rule(key, type, rule, &c);
    struct arena *a = arena_new(64 * MIB);
    struct route route;
    route_text(r, "auto", text, a, &route);
    struct route_signal s = *route_signal_of(&route, type, "r");
    arena_free(a);
    router_free(r);
    config_unref(c);
    return s;
}

#define REGEX(p) "feature: {type: count, source: {type: regex, pattern: '" p "'}}"
#define EXISTS(p) "feature: {type: exists, source: {type: regex, pattern: '" p "'}}"
#define WORDS(w) "feature: {type: density, source: {type: keyword_set, keywords: [" w "]}}"
#define COUNT(w) "feature: {type: count, source: {type: keyword_set, keywords: [" w "]}}"
#define CHAIN(s) "feature: {type: sequence, source: {type: sequence, sequences: [" s "]}}"
#define BYTES "feature: {type: count, source: {type: text_bytes}}"

static void structure_measures_the_text(void **state)
{
    static const struct {
        const char *rule, *text;
        bool match;
    } rows[] = {
        { REGEX("[?？]") ", predicate: {gte: 4}", "a? b? c？ d?", true },
        { REGEX("[?？]") ", predicate: {gte: 4}", "a? b? c?", false },
        { REGEX("[?？]") ", predicate: {lte: 1}", "no question", true },
        { REGEX("[?？]") ", predicate: {gt: 1, lt: 3}", "a? b?", true },
        { REGEX("[?？]") ", predicate: {gt: 1, lt: 3}", "a? b? c?", false },
        { REGEX("[?？]"), "a?", true },
        { REGEX("[?？]"), "a", false },
        { REGEX("todo"), "TODO", true },
        { "feature: {type: count, source: {type: regex, pattern: todo, case_sensitive: true}}",
          "TODO", false },
        { EXISTS("(?m)^\\s*\\d+\\.\\s+"), "steps:\n 1. one", true },
        { EXISTS("(?m)^\\s*\\d+\\.\\s+"), "version 1.2", false },
        /* 2 hits in 10 units: 0.2 */
        { WORDS("at most, json") ", predicate: {gte: 0.2}", "give at most 3 as JSON now or at once",
          true },
        { WORDS("at most, json") ", predicate: {gt: 0.2}", "give at most 3 as JSON now or at once",
          false },
        { COUNT("under") ", predicate: {gte: 1}", "thunder", false },
        { COUNT("under") ", predicate: {gte: 2}", "Under it, under me", true },
        { COUNT("至少") ", predicate: {gte: 2}", "至少三个，至少两个", true },
        /* 1 hit in 7 characters of Han: 0.143 */
        { WORDS("至少") ", predicate: {gte: 0.15}", "请给出至少三个。", false },
        { WORDS("至少") ", predicate: {gte: 0.14}", "请给出至少三个。", true },
        { CHAIN("[first, then]"), "First do this, then that", true },
        { CHAIN("[first, then]"), "then this, first that", false },
        { CHAIN("[first, then], [先, 再]"), "先做这个，再做那个", true },
        { CHAIN("[first, next, finally]"), "first a next b", false },
        { CHAIN("[first, next, finally]"), "first a next b finally c", true },
        { BYTES ", predicate: {gte: 6}", "中文", true },
        { BYTES ", predicate: {gte: 7}", "中文", false },
        { BYTES ", predicate: {lte: 100}", "", false }, /* nothing to measure */
        { REGEX("[?？]") ", predicate: {lte: 1}", "  \n", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(MIB);
        buf_addf(&b, "name: r, %s", rows[i].rule);
        struct route_signal s = signal_of("structure", "structure", b.p, rows[i].text);
        if (s.value != (rows[i].match ? TRUTH_true : TRUTH_false))
            fail_msg("{%s} on '%s': %d", rows[i].rule, rows[i].text, s.value);
        buf_done(&b);
    }
}

static void confidence_of_structure_grows_with_the_distance(void **state)
{
    static const struct {
        const char *rule, *text;
        double confidence;
    } rows[] = {
        { "name: r, " REGEX("x") ", predicate: {gte: 2}", "xx", 0.5 },
        { "name: r, " REGEX("x") ", predicate: {gte: 2}", "xxx", 0.98201379 }, /* 1/(1+e^-4) */
        { "name: r, " REGEX("x") ", predicate: {lt: 3}", "xx", 0.98201379 },
        { "name: r, " REGEX("x"), "xx", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_signal s = signal_of("structure", "structure", rows[i].rule, rows[i].text);
        assert_true(fabs(s.confidence - rows[i].confidence) < 1e-6);
    }
}

static void languages_are_detected(void **state)
{
    static const struct {
        const char *code, *text;
    } rows[] = {
        { "en", "What is the capital of France?" },
        { "es", "¿Cuál es la capital de Francia y por qué?" },
        { "fr", "Quelle est la capitale de la France ?" },
        { "de", "Was ist die Hauptstadt von Frankreich?" },
        { "pt", "Você pode me explicar como isso funciona?" },
        { "it", "Puoi spiegarmi come funziona la fotosintesi?" },
        { "nl", "Kun je mij uitleggen hoe dit werkt?" },
        { "pl", "Dzień dobry, jak się masz?" },
        { "tr", "Bana bunu açıklar mısın lütfen?" },
        { "ru", "Объясни, пожалуйста, как это работает" },
        { "uk", "Поясни, будь ласка, як це працює" },
        { "zh", "法国的首都是哪里？" },
        { "zh", "法國的首都是哪裡？" },
        { "ja", "フランスの首都はどこですか？" },
        { "ja", "日本語で" },
        { "ko", "프랑스의 수도는 어디입니까?" },
        { "ar", "ما هي عاصمة فرنسا؟" },
        { "he", "מהי בירת צרפת?" },
        { "fa", "پایتخت فرانسه کجاست؟" },
        { "hi", "फ्रांस की राजधानी क्या है?" },
        { "th", "เมืองหลวงของฝรั่งเศสคืออะไร" },
        { "el", "Ποια είναι η πρωτεύουσα της Γαλλίας;" },
        { "ka", "რა არის საფრანგეთის დედაქალაქი?" },
        { "ta", "பிரான்சின் தலைநகரம் என்ன?" },
        { "vi", "Thủ đô của nước Pháp là gì?" },
        { "zh", "你好" },
        { "ko", "안녕" },
        { "es", "Gracias" },
        { "es", "hola" },
        { "en", "hello" },
        { "de", "danke" },
        { "vi", "xin chào" },
        { "en", "Explain 机器学习 in plain English, please" },
        { "", "" },
        { "", "12345 67" },
        { "", "🙂🙂" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct language l = language_detect(str_of(rows[i].text));
        if (strcmp(l.code, rows[i].code) != 0)
            fail_msg("'%s' is %s, not %s", rows[i].text, l.code, rows[i].code);
        assert_true(l.confidence >= 0 && l.confidence <= 1);
        assert_int_equal(l.confidence > 0, l.code[0] != '\0');
    }
}

static void an_undetected_language_counts_as_english_at_one_half(void **state)
{
    static const struct {
        const char *rule, *text;
        enum truth value;
        double confidence;
    } rows[] = {
        { "name: r", "12345", TRUTH_false, 0 },
        { "name: en", "12345", TRUTH_true, 0.5 },
        { "name: en, threshold: 0.5", "12345", TRUTH_true, 0.5 },
        { "name: en, threshold: 0.6", "12345", TRUTH_false, 0 },
        { "name: el", "καλημέρα", TRUTH_true, 1 },
        { "name: el-CY", "καλημέρα", TRUTH_true, 1 },
        { "name: EL", "καλημέρα", TRUTH_true, 1 },
        { "name: en", "καλημέρα", TRUTH_false, 0 },
    };
    for (size_t i = 1; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct buf b = BUF_INIT(MIB);
        struct str name = str_of(rows[i].rule + 6), rest;
        (void)str_cut(name, ',', &name, &rest);
        buf_addf(&b,
                 "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
                 "routing:\n  signals:\n    language: [{%s}]\n"
                 "  decisions:\n    - {name: hit, rules: {type: language, name: %.*s},"
                 " modelRefs: [{model: m}]}\n",
                 rows[i].rule, STR_ARG(name));
        struct router *r = policy_from(b.p, &c);
        struct arena *a = arena_new(MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        assert_int_equal(route.signals[0].value, rows[i].value);
        assert_true(fabs(route.signals[0].confidence - rows[i].confidence) < 1e-9);
        arena_free(a);
        router_free(r);
        config_unref(c);
        buf_done(&b);
    }
}

static void events_match_any_of_their_criteria(void **state)
{
#define EVENT                                                                                      \
    "name: r, event_types: [payment_failed], severities: [critical, high], "                       \
    "action_codes: [TXN_DECLINE], temporal: true"
    static const struct {
        const char *text;
        double confidence; /* 0.5 + 0.5 × share of the four criteria; 0: no match */
    } rows[] = {
        { "hello", 0 },
        { "the payment failed", 0.625 },
        { "event payment_failed", 0.625 },
        { "CRITICAL: payment-failed", 0.75 },
        { "critical payment_failed TXN_DECLINE", 0.875 },
        { "critical payment_failed TXN_DECLINE 5 minutes ago", 1 },
        { "at 2024-05-01 something", 0.625 },
        { "highly", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_signal s = signal_of("events", "event", EVENT, rows[i].text);
        assert_int_equal(s.value, rows[i].confidence > 0 ? TRUTH_true : TRUTH_false);
        assert_true(fabs(s.confidence - rows[i].confidence) < 1e-9);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure_measures_the_text),
        cmocka_unit_test(confidence_of_structure_grows_with_the_distance),
        cmocka_unit_test(languages_are_detected),
        cmocka_unit_test(an_undetected_language_counts_as_english_at_one_half),
        cmocka_unit_test(events_match_any_of_their_criteria),
    };
    return TEST_RUN(tests);
}
