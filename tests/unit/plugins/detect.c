/*
 * The detectors, a row per text: what is found in it, and, as important, what is not.
 */
#include "tests/support/test.h"

#include "base/buf.h"
#include "base/limits.h"
#include "router/signals/pii/pii.h"

#include <stdio.h>

/* "TYPE=text|TYPE=text" of all findings. */
static void describe(struct str text, struct buf *out)
{
    struct pii_hit hit;
    size_t from = 0, clean;
    while (pii_next(text, from, /* end= */ true, &hit, &clean)) {
        assert_true(hit.start >= from && hit.end > hit.start && hit.end <= text.n);
        assert_true(hit.score > 0 && hit.score <= 1);
        buf_adds(out, out->n ? "|" : "");
        buf_adds(out, pii_name(hit.type));
        buf_addc(out, '=');
        buf_add(out, (struct str){ text.p + hit.start, hit.end - hit.start });
        from = hit.end;
    }
}

static void expect(const char *text, const char *findings)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(MIB);
    describe(str_of(text), &got);
    if (!str_is(buf_str(&got), findings))
        fail_msg("'%s': '%s' instead of '%s'", text, got.p ? got.p : "", findings);
}

struct row {
    const char *text, *findings;
};

static void expect_all(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect(rows[i].text, rows[i].findings);
}

/* The text alone is one entity, and so it is among punctuation. */
static void expect_whole(const char *type, const char *text)
{
    static const char *const frames[] = { "%s", "(%s)", "a: %s, b", "\"%s\".", "%s!", "\n%s\n" };
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        char framed[512], findings[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(framed, sizeof(framed), frames[i], text);
#pragma GCC diagnostic pop
        (void)snprintf(findings, sizeof(findings), "%s=%s", type, text);
        expect(framed, findings);
    }
}

static void finds_email_addresses(void **state)
{
    static const char *const whole[] = {
        "john@example.com",
        "john.doe+tag@sub.mail.example.co.uk",
        "o'brien@example.ie",
        "john_doe-99@my-host.info",
        "user%example.com@example.org",
        "user@xn--80ak6aa92e.com",
        "j\xc3\xb6rg@m\xc3\xbcller.de",
        "user@\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84",
        "a@\xe4\xbe\x8b\xe5\xad\x90.\xe5\x85\xac\xe5\x8f\xb8",
        "john@[192.0.2.1]",
        "john@[IPv6:2001:db8::1]",
        "x@y.museum",
        "123@456.com",
        "john\xef\xbc\xa0"
        "example\xef\xbc\x8e"
        "com",                                      /* full-width @ and dot */
        "jo\xe2\x80\x8bhn@exam\xe2\x80\x8bple.com", /* zero-width spaces */
        "john [at] example [dot] com",
        "john(at)example.com",
        "john{AT}example{DOT}org",
        "john dot doe (at) example dot com",
        "john at example dot com",
        "john @ example.com",
    };
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        expect_whole("EMAIL_ADDRESS", whole[i]);
    static const struct row rows[] = {
        { "\"john doe\"@example.com", "EMAIL_ADDRESS=\"john doe\"@example.com" },
        { "\"john..doe\\\"x\"@example.com", "EMAIL_ADDRESS=\"john..doe\\\"x\"@example.com" },
        { "john@example.com...", "EMAIL_ADDRESS=john@example.com" },
        { "<john@example.com>", "EMAIL_ADDRESS=john@example.com" },
        { "mailto:john@example.com?subject=x", "EMAIL_ADDRESS=john@example.com" },
        { "?email=john@example.com&x=1", "EMAIL_ADDRESS=john@example.com" },
        { "'john@example.com'", "EMAIL_ADDRESS=john@example.com" },
        { "**john@example.com**", "EMAIL_ADDRESS=john@example.com" },
        { "a@b.co,c@d.org", "EMAIL_ADDRESS=a@b.co|EMAIL_ADDRESS=c@d.org" },
        { "john@example.com-", "EMAIL_ADDRESS=john@example.com" },
        { "\xe8\x81\x94\xe7\xb3\xbbjohn@example.com\xe8\xaf\xb7",
          "EMAIL_ADDRESS=john@example.com" },
        /* not addresses */
        { "@john, see @example.com", "" },
        { "john@", "" },
        { "john@localhost", "" },
        { "icon@2x.png", "" },
        { "lodash@4.17.21", "" },
        { "getty@tty1.service", "" },
        { "meet me at google.com", "" },
        { "look at that dot on the map", "" },
        { "a new look at Nirvana . It was", "" },
        { "we are at war dot", "" },
        { "a @ b", "" },
        { "5 apples @ 3.50", "" },
    };
    expect_all(rows, ARRAY_LEN(rows));
}

static const char *const phone_numbers[] = {
    "415-555-0132",
    "(415) 555-0132",
    "(415)555-0132",
    "415.555.0132",
    "415 555 0132",
    "415/555-0132",
    "4155550132",
    "1-415-555-0132",
    "1 (800) 555-0199",
    "+1 415 555 0132",
    "+1(415)555-0132",
    "+1.415.555.0132",
    "+14155550132",
    "415-555-0132 x99",
    "+1 (415) 555-0132 ext. 12",
    "415-555-0132x565",
    "001-415-555-0132",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "+44 (20) 7946 0958",
    "(+44) 20 7946 0958",
    "0044 20 7946 0958",
    "011 44 20 7946 0958",
    "020 7946 0958",
    "(020) 7946 0958",
    "07700 900123",
    "07700900123",
    "+447700900123",
    "(0)20 7946 0958",
    "+49 30 1234567",
    "+49 (0) 30 1234567",
    "+4930 1234567",
    "030/1234567",
    "0171-1234567",
    "+33 1 84 17 61 18",
    "01 84 17 61 18",
    "06.12.34.56.78",
    "+41 44 668 18 00",
    "+43 1 234567",
    "+31 20 123 4567",
    "+32 2 123 45 67",
    "+34 912 345 678",
    "+351 21 123 4567",
    "+39 06 678 4343",
    "+45 12 34 56 78",
    "+46 (0)8 928 571 38",
    "+47 22 12 34 56",
    "+48 22 123 45 67",
    "+353 1 234 5678",
    "+358 9 123 4567",
    "+7 (495) 123-45-67",
    "+90 212 123 45 67",
    "+91 98765 43210",
    "91-415-555-0132",
    "91-9876543210",
    "+86 138 0013 8000",
    "+81 90-1234-5678",
    "090-1234-5678",
    "+82 2-1234-5678",
    "+61 2 9374 4000",
    "(02) 9374 4000",
    "+64 9 123 4567",
    "+55 11 98456-5666",
    "+52 55 1234 5678",
    "+27 11 123 4567",
    "+20 2 12345678",
    "+234 803 123 4567",
    "+254 712 345678",
    "+971 50 123 4567",
    "+972-50-123-4567",
    "+65 6123 4567",
    "+852 2123 4567",
    "+62 812-3456-7890",
    ("415\xe2\x80\x91"
     "555\xe2\x80\x91"
     "0132"), /* non-breaking hyphens */
    ("415\xc2\xa0"
     "555\xc2\xa0"
     "0132"), /* no-break spaces */
    ("\xef\xbc\x8b"
     "44 20 7946 0958"), /* full-width plus */
    "\xef\xbc\x94\xef\xbc\x91\xef\xbc\x95-555-0132",
    "415\xe2\x80\x8b-555-0132",
};

static const struct row phone_texts[] = {
    { "tel:+1-201-555-0123", "PHONE_NUMBER=+1-201-555-0123" },
    { "call 555-0132 now", "PHONE_NUMBER=555-0132" },
    { "my number is 78 651 450", "PHONE_NUMBER=78 651 450" },
    { "416 60 039 office", "PHONE_NUMBER=416 60 039" },
    { "mobile: 98765 43210", "PHONE_NUMBER=98765 43210" },
    { "ring 4 1 5 5 5 5 0 1 3 2", "PHONE_NUMBER=4 1 5 5 5 5 0 1 3 2" },
    { "\xe7\x94\xb5\xe8\xaf\x9d+86 138 0013 8000", "PHONE_NUMBER=+86 138 0013 8000" },
    { "415-555-0132, 415-555-0133", "PHONE_NUMBER=415-555-0132|PHONE_NUMBER=415-555-0133" },
    /* other numbers */
    { "555-0132", "" },
    { "order 5403926876", "" },
    { "order id: 4839201756", "" },
    { "#4839201756", "" },
    { "invoice 2024-000123", "" },
    { "tracking number 5403926876", "" },
    { "ISBN 978-0-306-40615-7", "" },
    { "ISBN 0-306-40615-2 or ISBN: 0306406152", "" },
    { "EAN 4006381333931", "" },
    { "1700000000", "" },
    { "1700000000000", "" },
    { "1700000000000000", "" },
    { "2024-05-12T10:30:00Z", "" },
    { "2024-05-12 10:30:00", "" },
    { "12/05/2024, 05.12.2024 10:30, 07-04-2021", "" },
    { "1990-1995-2000", "" },
    { "550e8400-e29b-41d4-a716-446655440000", "" },
    { "3.14159265358979 0.1234567890 415.5550132", "" },
    { "$1,234,567.89 EUR 1 234 567", "" },
    { "1 000 000 000 or 10 000 000", "" },
    { "100 200 300 400", "" },
    { "2019 2020 2021 2022", "" },
    { "1 2 3 4 5 6 7 8 9 10 11 12", "" },
    { "call 0 1 2 3 4 5 6 7 8 9", "" },
    { "zip 12345-6789", "" },
    { "4532-1234-5678-9012", "" },
    { "lat 40.7128, lon -74.0060", "" },
    { "a+1234567 1+2 +5 degrees", "" },
    { "1024x768", "" },
    { "is415-555-0132", "" },
    { "00100000 01110 00100000 01110011 01101001", "" },
    { "call, December 2011 2313", "" },
    { "x_4155550132", "" },
    { "http://shop.example/item/4155550132", "" },
};

static void finds_phone_numbers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(phone_numbers); i++)
        expect_whole("PHONE_NUMBER", phone_numbers[i]);
    expect_all(phone_texts, ARRAY_LEN(phone_texts));
}

/* Numbers that the card networks and payment providers publish for tests. */
static void finds_payment_cards(void **state)
{
    static const char *const whole[] = {
        "4111111111111111", /* Visa */
        "4012888888881881",
        "4222222222222", /* Visa, 13 digits */
        "5555555555554444",
        "5105105105105100", /* Mastercard */
        "2223000048400011", /* Mastercard, 2 series */
        "378282246310005",
        "371449635398431", /* American Express */
        "30569309025904",
        "38520000023237", /* Diners Club */
        "6011111111111117",
        "6011000990139424", /* Discover */
        "3530111333300000",
        "3566002020360505", /* JCB */
        "6304000000000000",
        "6759649826438453", /* Maestro */
        "5019717010103742", /* Dankort */
        "6240008631401148", /* UnionPay */
        "122000000000003",  /* UATP */
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4111_1111_1111_1111",
        "4111/1111/1111/1111",
        "4111  1111  1111  1111",
        "4111 - 1111 - 1111 - 1111",
        "4111,1111,1111,1111",
        "4111\n1111\n1111\n1111",
        "3782 822463 10005",
        "3056 930902 5904",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "41 11 11 11 11 11 11 11",
        "4111\xe2\x80\x93"
        "1111\xe2\x80\x93"
        "1111\xe2\x80\x93"
        "1111", /* en dashes */
        "4111\xc2\xa0"
        "1111\xc2\xa0"
        "1111\xc2\xa0"
        "1111", /* no-break spaces */
        "4111\xe2\x80\x8b"
        "1111\xe2\x80\x8b"
        "1111\xe2\x80\x8b"
        "1111", /* zero-width spaces */
        "\xef\xbc\x94\xef\xbc\x91\xef\xbc\x91\xef\xbc\x91 1111 1111 1111",
    };
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        expect_whole("CREDIT_CARD", whole[i]);
    static const struct row rows[] = {
        { "card:4111111111111111&x", "CREDIT_CARD=4111111111111111" },
        { "4111 1111 1111 1111 12/25", "CREDIT_CARD=4111 1111 1111 1111" },
        { "2 4111111111111111 123", "CREDIT_CARD=4111111111111111" },
        { "#4111111111111111", "CREDIT_CARD=4111111111111111" },
        /* Luhn fails */
        { "4111111111111112 4111 1111 1111 1112", "" },
        { "378282246310006 5555555555554445", "" },
        /* nobody's prefix, or not its length */
        { "0000000000000000 9876543210123456", "" },
        { "411111111111116", "" },
        { "490154203237518", "" }, /* an IMEI */
        { "x4111111111111111 4111111111111111x", "" },
        { "94111111111111111111111", "" },
        { "0.4111111111111111", "" },
        { "57 68 61 74 20 69 73 20 61 20 6d 61", "" }, /* text in hexadecimal */
        { "41 11 11 11 11 11 11 11 12 13", "" },
    };
    expect_all(rows, ARRAY_LEN(rows));
}

static const char *const ibans[] = {
#include "tests/unit/plugins/iban_vectors.inc"
};

/* The account in groups of four. */
static void print_groups(const char *iban, char sep, char *out)
{
    for (size_t i = 0; iban[i]; i++) {
        if (i && i % 4 == 0)
            *out++ = sep;
        *out++ = iban[i];
    }
    *out = '\0';
}

static void finds_the_ibans_of_every_country(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(ibans); i++) {
        char text[128];
        expect_whole("IBAN_CODE", ibans[i]);
        print_groups(ibans[i], ' ', text);
        expect_whole("IBAN_CODE", text);
        print_groups(ibans[i], '-', text);
        expect_whole("IBAN_CODE", text);
    }
}

static void an_iban_with_a_wrong_digit_is_none(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(ibans); i++)
        for (unsigned add = 1; add < 10; add++) {
            CLEANUP(buf_done) struct buf got = BUF_INIT(MIB);
            char text[64];
            (void)snprintf(text, sizeof(text), "%s", ibans[i]);
            text[3] = (char)('0' + (text[3] - '0' + (int)add) % 10);
            describe(str_of(text), &got);
            if (got.n && strstr(got.p, "IBAN"))
                fail_msg("%s is no IBAN", text);
        }
}

static void ibans_have_edges(void **state)
{
    static const struct row rows[] = {
        { "gb82west12345698765432", "IBAN_CODE=gb82west12345698765432" },
        { "IBAN:GB82WEST12345698765432.", "IBAN_CODE=GB82WEST12345698765432" },
        { "an IBAN GB82 WEST 1234 5698 7654 32 in a sentence",
          "IBAN_CODE=GB82 WEST 1234 5698 7654 32" },
        { "GB82\xc2\xa0WEST\xc2\xa0"
          "1234\xc2\xa0"
          "5698\xc2\xa0"
          "7654\xc2\xa0"
          "32",
          "IBAN_CODE=GB82\xc2\xa0WEST\xc2\xa0"
          "1234\xc2\xa0"
          "5698\xc2\xa0"
          "7654\xc2\xa0"
          "32" },
        { "GB82WEST123456987654321", "" },
        { "XGB82WEST12345698765432", "" },
        { "XX82WEST12345698765432", "" },
        { "GB82 WEST 1234 5698 7654", "" },
        { "LV80bANK0000435195001", "" },
    };
    expect_all(rows, ARRAY_LEN(rows));
}

static void finds_social_security_numbers(void **state)
{
    static const char *const whole[] = {
        "123-45-6789",
        "078-05-1123",
        "123 45 6789",
        "123.45.6789",
        "123/45/6789",
        "123 - 45 - 6789",
        "899-01-0001",
        "001-01-0001",
        "123\xe2\x80\x91"
        "45\xe2\x80\x91"
        "6789",
        "123\xe2\x88\x92"
        "45\xe2\x88\x92"
        "6789",
        "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x93-45-6789",
        "123\xc2\xa0"
        "45\xc2\xa0"
        "6789",
    };
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        expect_whole("US_SSN", whole[i]);
    static const struct row rows[] = {
        { "SSN 123456789", "US_SSN=123456789" },
        { "my social security number is 123456789.", "US_SSN=123456789" },
        { "SSN#123-45-6789,", "US_SSN=123-45-6789" },
        /* never issued */
        { "000-12-3456 666-12-3456 900-12-3456 987-65-4321", "" },
        { "123-00-6789 123-45-0000 111-11-1111", "" },
        { "SSN 000123456, SSN 666123456, SSN 912345678", "" },
        /* other things */
        { "123456789", "" },
        { "123-45.6789", "" },
        { "123-45-67890 0123-45-6789 123-45-6789-0 1-123-45-6789", "" },
        { "a123-45-6789", "" },
        { "2024-05-1234", "" },
    };
    expect_all(rows, ARRAY_LEN(rows));
}

static const struct {
    const char *text;
    bool ok;
} addresses[] = {
#include "tests/unit/plugins/ip_vectors.inc"
};

/* All colons, or groups without a decimal digit: paths of programs look like that. */
static bool too_plain(const char *text)
{
    return strpbrk(text, "0123456789") == NULL;
}

static void agrees_with_another_parser_about_ip_addresses(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        CLEANUP(buf_done) struct buf got = BUF_INIT(MIB);
        char expected[128];
        (void)snprintf(expected, sizeof(expected), "IP_ADDRESS=%s", addresses[i].text);
        if (addresses[i].ok && too_plain(addresses[i].text))
            continue;
        describe(str_of(addresses[i].text), &got);
        if (str_is(buf_str(&got), expected) != addresses[i].ok)
            fail_msg("'%s' gives '%s'", addresses[i].text, got.p ? got.p : "");
        if (addresses[i].ok)
            expect_whole("IP_ADDRESS", addresses[i].text);
    }
}

static void ip_addresses_have_edges(void **state)
{
    static const struct row rows[] = {
        { "10.0.0.0/8", "IP_ADDRESS=10.0.0.0/8" },
        { "10.0.0.0/33 10.0.0.1/index.html", "IP_ADDRESS=10.0.0.0|IP_ADDRESS=10.0.0.1" },
        { "fe80::1%eth0", "IP_ADDRESS=fe80::1%eth0" },
        { "2001:db8::%eth0/128", "IP_ADDRESS=2001:db8::%eth0/128" },
        { "2001:db8::/9999", "IP_ADDRESS=2001:db8::" },
        { "http://[2001:db8::1]:443/path", "IP_ADDRESS=2001:db8::1" },
        { "http://10.0.0.1:8080/x", "IP_ADDRESS=10.0.0.1" },
        { "user@2001:db8::1", "IP_ADDRESS=2001:db8::1" },
        { "192.168.2.1@eth0", "IP_ADDRESS=192.168.2.1" },
        { "2001:db8::1: unreachable", "IP_ADDRESS=2001:db8::1" },
        { "10.0.0.1-10.0.0.9", "IP_ADDRESS=10.0.0.1|IP_ADDRESS=10.0.0.9" },
        { "IP: 192.168.1.1.", "IP_ADDRESS=192.168.1.1" },
        { "\xef\xbc\x91\xef\xbc\x90.0.0.1", "IP_ADDRESS=\xef\xbc\x91\xef\xbc\x90.0.0.1" },
        /* versions, times, programs */
        { "version 1.2.3.4", "" },
        { "v1.2.3.4", "" },
        { "section 1.2.3.4 of it", "" },
        { "pkg-1.2.3.4.tar.gz", "" },
        { "Chrome 120.0.6099.109", "" },
        { "1.2.3.4.5", "" },
        { "text192.168.1.1 192.168.1.1x", "" },
        { "10:30:45 1:2:3:4", "" },
        { "aa:bb:cc:dd:ee:ff", "" },
        { "aa:bb:cc:dd:ee:ff:aa:bb", "" },
        { "std::vector a::b f(x)::Int x :: y", "" },
        { "2001:db8::256.1.1.1", "" },
    };
    expect_all(rows, ARRAY_LEN(rows));
}

static void checksums_and_grammars_score_one(void **state)
{
    static const struct {
        const char *text;
        double least, most;
    } rows[] = {
        { "4111111111111111", 1, 1 },
        { "GB82WEST12345698765432", 1, 1 },
        { "john@example.com", 1, 1 },
        { "192.168.0.1", 0.9, 0.99 },
        { "+49 30 1234567", 0.9, 0.99 },
        { "123-45-6789", 0.8, 0.9 },
        { "my ssn is 123-45-6789", 0.91, 0.99 },
        { "4155550132", 0.4, 0.5 },
        { "phone 4155550132", 0.6, 0.8 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pii_hit hit = { 0 };
        size_t clean;
        assert_true(pii_next(str_of(rows[i].text), 0, true, &hit, &clean));
        if (hit.score < rows[i].least || hit.score > rows[i].most)
            fail_msg("%s scores %g", rows[i].text, hit.score);
    }
}

static void without_the_end_it_asks_for_more(void **state)
{
    static const struct {
        const char *text;
        size_t clean; /* bytes that are decided */
    } rows[] = {
        { "hello", 0 }, { "hello ", 0 },      { "hello wor", 6 },       { "in 2024 we did", 11 },
        { "a 411", 2 }, { "call +49 30", 5 }, { "mail jo@example", 5 }, { ", ", 2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pii_hit hit;
        size_t clean = 99;
        assert_false(pii_next(str_of(rows[i].text), 0, false, &hit, &clean));
        if (clean != rows[i].clean)
            fail_msg("'%s': %zu bytes are decided", rows[i].text, clean);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_email_addresses),
        cmocka_unit_test(finds_phone_numbers),
        cmocka_unit_test(finds_payment_cards),
        cmocka_unit_test(finds_the_ibans_of_every_country),
        cmocka_unit_test(an_iban_with_a_wrong_digit_is_none),
        cmocka_unit_test(ibans_have_edges),
        cmocka_unit_test(finds_social_security_numbers),
        cmocka_unit_test(agrees_with_another_parser_about_ip_addresses),
        cmocka_unit_test(ip_addresses_have_edges),
        cmocka_unit_test(checksums_and_grammars_score_one),
        cmocka_unit_test(without_the_end_it_asks_for_more),
    };
    return TEST_RUN(tests);
}
