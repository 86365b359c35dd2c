/*
 * The token stream: what leaves does not depend on the cuts, nothing of an entity leaves, little is
 * withheld, and a block lets nothing more out.
 */
#include "tests/unit/plugins/support.h"

#include "base/limits.h"

#include <stdio.h>

static const char mask[] = "[{type: pii}]";
static const char shape[] = "[{type: pii, configuration: {mask_char: '#', keep_last: 2}}]";
static const char redact[] = "[{type: pii, configuration: {action: redact}}]";
static const char block[] = "[{type: pii, configuration: {action: block}}]";
static const char mixed[] =
    "[{type: pii, configuration: {entities: {EMAIL_ADDRESS: redact, IP_ADDRESS: allow}}},"
    " {type: pii, configuration: {placeholder: '<{type}>'}}]";
static const char *const configurations[] = { mask, shape, redact, block, mixed };

static const char *const texts[] = {
    "",
    "Plain prose, and nothing else in it.",
    "Write to john.doe+news@mail.example.co.uk, please.",
    "\"john doe\"@example.com and john dot doe (at) example dot com!",
    "Ring +44 (0)20 7946 0958 or (415) 555-0132 x12; not 1.2.3.4 of version 2.",
    "Card 4111 1111 1111 1111, Amex 3782-822463-10005, 378282246310005.",
    "IBAN: GB82 WEST 1234 5698 7654 32 and DE89370400440532013000.",
    "SSN 123-45-6789; 000-12-3456 was never given out.",
    "Hosts 192.168.0.1/24, 2001:db8::1%eth0/64, [::ffff:192.0.2.1]:80 and ::1.",
    "j\xc3\xb6rg@m\xc3\xbcller.de, \xe7\x94\xa8\xe6\x88\xb7 4111\xe2\x80\x91"
    "1111\xe2\x80\x91"
    "1111\xe2\x80\x91"
    "1111 \xef\xbc\x94 caf\xc3\xa9 \xf0\x9f\x98\x80",
    "Order 5403926876, ISBN 978-0-306-40615-7, 2024-05-12 10:30:00, 3.14159265358979.",
    "\xff\xc3(\xe2\x82 4111\xe2\x80\x8b"
    "1111\xe2\x80\x8b"
    "1111\xe2\x80\x8b"
    "1111 \xf0\x9f\x98",
    "tail 4111 1111 1111 1111",
    "tail a@b.co",
};

static void compare(const char *configuration, const struct chain *c, struct str text,
                    const size_t *cuts, size_t n, struct str expected, enum verdict verdict)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    struct fail fail = { 0 };
    enum verdict v = feed(c, text, cuts, n, &out, &fail);
    if (v != verdict || !str_eq(buf_str(&out), expected))
        fail_msg("%s, cut at %zu…: '%s' instead of '%.*s'", configuration, n ? cuts[0] : 0,
                 out.p ? out.p : "", (int)expected.n, expected.p);
}

static void every_cut_in_two_and_three_gives_the_same_output(void **state)
{
    for (size_t k = 0; k < ARRAY_LEN(configurations); k++) {
        CLEANUP(chain_freep) struct chain *c = good_chain(configurations[k]);
        for (size_t t = 0; t < ARRAY_LEN(texts); t++) {
            struct str text = str_of(texts[t]);
            CLEANUP(buf_done) struct buf whole = BUF_INIT(MIB);
            enum verdict v = feed(c, text, NULL, 0, &whole, NULL);
            for (size_t i = 0; i <= text.n; i++)
                for (size_t j = i; j <= text.n; j++)
                    compare(configurations[k], c, text, (size_t[]){ i, j }, 2, buf_str(&whole), v);
        }
    }
}

static void one_byte_at_a_time_gives_the_same_output(void **state)
{
    size_t cuts[256];
    for (size_t i = 0; i < 256; i++)
        cuts[i] = i + 1;
    for (size_t k = 0; k < ARRAY_LEN(configurations); k++) {
        CLEANUP(chain_freep) struct chain *c = good_chain(configurations[k]);
        for (size_t t = 0; t < ARRAY_LEN(texts); t++) {
            struct str text = str_of(texts[t]);
            CLEANUP(buf_done) struct buf whole = BUF_INIT(MIB);
            enum verdict v = feed(c, text, NULL, 0, &whole, NULL);
            assert_true(text.n < 256);
            compare(configurations[k], c, text, cuts, text.n, buf_str(&whole), v);
        }
    }
}

/* Text out of pieces that begin, end and resemble entities. */
static size_t random_text(char *p, size_t max, uint64_t *seed)
{
    static const char *const pieces[] = {
        " ",
        ".",
        "-",
        "@",
        ":",
        "::",
        "+",
        "(",
        ")",
        "\n",
        ", ",
        "a",
        "at",
        " at ",
        " dot ",
        "dot",
        "com",
        ".com",
        "john",
        "1",
        "0",
        "9",
        "255",
        "192.168",
        "4111",
        "1111",
        "DE89",
        "GB82",
        "WEST",
        "1234",
        "5698",
        "7654",
        "32",
        "123",
        "45",
        "6789",
        "555",
        "0132",
        "+1",
        "+49",
        "x12",
        "ext. ",
        "phone ",
        "order ",
        "version ",
        "2001",
        "db8",
        "ffff",
        "%eth0",
        "/24",
        "\"",
        "[at]",
        "(dot)",
        "_",
        "\xe2\x80\x8b",
        "\xe2\x80\x91",
        "\xef\xbc\x94",
        "\xc3\xa9",
        "\xe4\xb8\xad",
        "4111111111111111",
        "joe@example.org",
        "078-05-1123",
        "10.0.0.1",
        "\xff",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    size_t n = 0;
    unsigned count = 1 + (unsigned)(test_random(seed) % 60);
    for (unsigned i = 0; i < count; i++) {
        struct str s = str_of(pieces[test_random(seed) % ARRAY_LEN(pieces)]);
        if (n + s.n > max)
            break;
        memcpy(p + n, s.p, s.n);
        n += s.n;
    }
    return n;
}

static void random_cuts_of_random_text_give_the_same_output(void **state)
{
    struct chain *chains[ARRAY_LEN(configurations)];
    for (size_t k = 0; k < ARRAY_LEN(configurations); k++)
        chains[k] = good_chain(configurations[k]);
    uint64_t seed = 2024;
    char p[4096];
    for (unsigned round = 0; round < 20000; round++) {
        struct str text = { p, random_text(p, sizeof(p), &seed) };
        size_t k = round % ARRAY_LEN(configurations), cuts[16], n = 0;
        CLEANUP(buf_done) struct buf whole = BUF_INIT(MIB);
        enum verdict v = feed(chains[k], text, NULL, 0, &whole, NULL);
        for (size_t at = 0; n < 16; n++) {
            at += (size_t)(test_random(&seed) % (1 + text.n / 8));
            cuts[n] = at < text.n ? at : text.n;
        }
        compare(configurations[k], chains[k], text, cuts, n, buf_str(&whole), v);
    }
    for (size_t k = 0; k < ARRAY_LEN(configurations); k++)
        (void)chain_free(chains[k]);
}

static const struct {
    const char *before, *entity, *after;
} secrets[] = {
    { "my card is ", "4111 1111 1111 1111", ", ok" },
    { "", "378282246310005", "" },
    { "ssn: ", "123-45-6789", "." },
    { "write ", "jane.roe@example.com", " soon" },
    { "iban ", "GB82 WEST 1234 5698 7654 32", "\n" },
    { "call ", "+49 30 1234567", " now" },
    { "host ", "2001:db8:85a3::8a2e:370:7334", " up" },
    { "mail ", "x@[192.0.2.1]", "!" },
};

/* Until the last byte of the entity is there, all that has left is what stands before it. */
static void nothing_of_an_entity_leaves_before_its_verdict(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain(block);
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        CLEANUP(chain_run_freep) struct chain_run *run = NULL;
        CLEANUP(buf_done) struct buf text = BUF_INIT(MIB), out = BUF_INIT(MIB);
        struct fail fail = { 0 };
        buf_adds(&text, secrets[i].before);
        buf_adds(&text, secrets[i].entity);
        buf_adds(&text, secrets[i].after);
        assert_int_equal(chain_run_new(&run, c), 0);
        enum verdict v = VERDICT_pass;
        for (size_t at = 0; at < text.n && v != VERDICT_block; at++) {
            v = chain_push(run, (struct str){ text.p + at, 1 }, at + 1 == text.n, &out, &fail);
            assert_true(out.n <= strlen(secrets[i].before));
        }
        assert_int_equal(v, VERDICT_block);
        assert_true(str_eq(buf_str(&out), str_of(secrets[i].before)));
        assert_int_equal(fail.code, FAIL_content_policy_violation);
        assert_null(strstr(fail.message, secrets[i].entity));
        assert_int_equal(chain_push(run, STR("more"), true, &out, &fail), VERDICT_block);
        assert_true(str_eq(buf_str(&out), str_of(secrets[i].before)));
    }
}

/* The most that is ever withheld of a text that comes byte by byte. */
static size_t most_withheld(const struct chain *c, struct str text)
{
    CLEANUP(chain_run_freep) struct chain_run *run = NULL;
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    size_t most = 0;
    assert_int_equal(chain_run_new(&run, c), 0);
    for (size_t at = 0; at < text.n; at++) {
        assert_int_equal(chain_push(run, (struct str){ text.p + at, 1 }, false, &out, NULL),
                         VERDICT_pass);
        size_t withheld = at + 1 - out.n;
        most = withheld > most ? withheld : most;
    }
    return most;
}

static void prose_is_withheld_by_a_word_at_most(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain(block);
    static const char prose[] =
        "The quick brown fox jumps over the lazy dog; in 2019 there were 3 of them, or 4.5 "
        "percent. "
        "\xc3\x89t\xc3\xa9, na\xc3\xafve. \xe4\xb8\xad\xe6\x96\x87\xe3\x80\x82 Don't do that!\n";
    assert_true(most_withheld(c, str_of(prose)) <= 16);
}

static void no_text_is_withheld_beyond_the_bound(void **state)
{
    CLEANUP(chain_freep)
    struct chain *c = good_chain("[{type: pii, configuration: {action: allow}}]");
    static const char *const units[] = {
        "a",        "1",      "a.", "1 ", "\"",           ":",
        "f:",       "(",      "+",  "-1", "a at ",        "\xe2\x80\x8b",
        "\xc3\xa9", "a dot ", "@",  "_",  "a\xe2\x80\x8b"
    };
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
        while (text.n < 3000)
            buf_adds(&text, units[i]);
        assert_true(most_withheld(c, buf_str(&text)) <= LIMIT_HOLD_BACK);
    }
}

/* Addresses that no mail server takes: longer than what may be withheld. */
static void an_overlong_address_is_masked_to_its_end(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain(mask);
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    buf_adds(&text, "to jo@");
    for (unsigned i = 0; i < 60; i++)
        buf_adds(&text, "sub-domain.");
    buf_adds(&text, "example.com, ok");
    size_t cuts[64], n = 0;
    for (size_t at = 11; at < text.n && n < 64; at += 11)
        cuts[n++] = at;
    compare(mask, c, buf_str(&text), cuts, n, STR("to [EMAIL_ADDRESS], ok"), VERDICT_changed);
    compare(mask, c, buf_str(&text), NULL, 0, STR("to [EMAIL_ADDRESS], ok"), VERDICT_changed);
}

static void of_an_overlong_local_part_the_last_bytes_are_masked(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain(mask);
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB), expected = BUF_INIT(MIB);
    for (unsigned i = 0; i < 400; i++)
        buf_addc(&text, 'a');
    buf_add(&expected, str_head(buf_str(&text), 400 - 240));
    buf_adds(&text, "@example.com");
    buf_adds(&expected, "[EMAIL_ADDRESS]");
    for (size_t at = 1; at < text.n; at++)
        compare(mask, c, buf_str(&text), &at, 1, buf_str(&expected), VERDICT_changed);
}

static void an_incomplete_character_waits_for_its_rest(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain("[{type: pii}]");
    CLEANUP(chain_run_freep) struct chain_run *run = NULL;
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    assert_int_equal(chain_run_new(&run, c), 0);
    assert_int_equal(chain_push(run, STR(", \xf0\x9f"), false, &out, NULL), VERDICT_pass);
    assert_true(str_eq(buf_str(&out), STR(", ")));
    assert_int_equal(chain_push(run, STR("\x98\x80, "), false, &out, NULL), VERDICT_pass);
    assert_true(str_eq(buf_str(&out), STR(", \xf0\x9f\x98\x80, ")));
    assert_int_equal(chain_push(run, STR("\xc3"), true, &out, NULL), VERDICT_pass);
    assert_true(str_eq(buf_str(&out), STR(", \xf0\x9f\x98\x80, \xc3"))); /* as it came */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_in_two_and_three_gives_the_same_output),
        cmocka_unit_test(one_byte_at_a_time_gives_the_same_output),
        cmocka_unit_test(random_cuts_of_random_text_give_the_same_output),
        cmocka_unit_test(nothing_of_an_entity_leaves_before_its_verdict),
        cmocka_unit_test(prose_is_withheld_by_a_word_at_most),
        cmocka_unit_test(no_text_is_withheld_beyond_the_bound),
        cmocka_unit_test(an_overlong_address_is_masked_to_its_end),
        cmocka_unit_test(of_an_overlong_local_part_the_last_bytes_are_masked),
        cmocka_unit_test(an_incomplete_character_waits_for_its_rest),
    };
    return TEST_RUN(tests);
}
