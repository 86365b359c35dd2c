/*
 * Languages of texts on tables by hand, what does not count in a prompt, and files of the model
 * that are refused. How good the model is on labelled texts: tests/perf/language.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"
#include "router/models/shipped.h"
#include "router/signals/language.h"

#include <errno.h>
#include <string.h>

static void assert_code(const char *text, const char *code)
{
    struct language l = language_detect(str_of(text));
    if (strcmp(l.code, code) != 0)
        fail_msg("'%.200s' is '%s' (%.2f), not '%s'", text, l.code, l.confidence, code);
    assert_true(l.confidence >= 0 && l.confidence <= 1);
    assert_int_equal(l.confidence > 0, l.code[0] != '\0');
}

struct row {
    const char *code, *text;
};

static void assert_codes(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_code(rows[i].text, rows[i].code);
}

static void sentences_in_many_languages_are_told_apart(void **state)
{
    static const struct row rows[] = {
        { "af", "Die kinders speel elke middag saam in die tuin agter die huis." },
        { "sq", "Fëmijët luajnë çdo pasdite së bashku në kopshtin prapa shtëpisë." },
        { "az", "Uşaqlar hər gün günortadan sonra evin arxasındakı bağda birlikdə oynayırlar." },
        { "eu", "Haurrek arratsaldero elkarrekin jolasten dute etxe atzeko lorategian." },
        { "be", "Дзеці кожны дзень пасля абеду гуляюць разам у садзе за домам." },
        { "bg", "Децата играят всеки следобед заедно в градината зад къщата." },
        { "ca", "Els nens juguen cada tarda junts al jardí de darrere de la casa." },
        { "cs", "Děti si každé odpoledne hrají společně na zahradě za domem." },
        { "da", "Børnene leger sammen hver eftermiddag i haven bag ved huset." },
        { "eo", "La infanoj ĉiun posttagmezon ludas kune en la ĝardeno malantaŭ la domo." },
        { "et", "Lapsed mängivad igal pärastlõunal koos maja taga aias." },
        { "fi", "Lapset leikkivät yhdessä joka iltapäivä talon takana puutarhassa." },
        { "cy", "Mae'r plant yn chwarae gyda'i gilydd bob prynhawn yn yr ardd y tu ôl i'r tŷ." },
        { "ga", "Bíonn na páistí ag súgradh le chéile gach tráthnóna sa ghairdín taobh thiar den "
                "teach." },
        { "hu", "A gyerekek minden délután együtt játszanak a ház mögötti kertben." },
        { "is", "Börnin leika sér saman á hverjum degi í garðinum á bak við húsið." },
        { "id", "Anak-anak itu bermain bersama setiap sore karena kebun mereka luas." },
        { "kk", "Балалар күн сайын түстен кейін үйдің артындағы бақта бірге ойнайды." },
        { "la", "Pueri cotidie post meridiem in horto qui post domum est una ludunt." },
        { "lv", "Bērni katru pēcpusdienu kopā spēlējas dārzā aiz mājas." },
        { "lt", "Vaikai kiekvieną popietę kartu žaidžia sode už namo." },
        { "mk", "Децата секое попладне си играат заедно во градината зад куќата." },
        { "mn", "Хүүхдүүд өдөр бүр байшингийн арын цэцэрлэгт хамтдаа тоглодог." },
        { "nb", "Barna leker sammen hver ettermiddag i hagen bak huset, men ikke på søndager." },
        { "nn", "Borna leikar saman kvar ettermiddag i hagen bak huset, men ikkje på søndagar." },
        { "pl", "Dzieci każdego popołudnia bawią się razem w ogrodzie za domem." },
        { "ro", "Copiii se joacă împreună în fiecare după-amiază în grădina din spatele casei." },
        { "sr", "Деца се свако поподне заједно играју у башти иза куће." },
        { "sk", "Deti sa každé popoludnie spolu hrajú v záhrade za domom." },
        { "sl", "Otroci se vsako popoldne skupaj igrajo na vrtu za hišo." },
        { "so", "Carruurtu waxay galab kasta ku wada ciyaaraan beerta guriga gadaashiisa." },
        { "sv", "Barnen leker tillsammans varje eftermiddag i trädgården bakom huset." },
        { "sw", "Watoto hucheza pamoja kila alasiri katika bustani iliyo nyuma ya nyumba." },
        { "tl", "Naglalaro nang magkasama ang mga bata tuwing hapon sa hardin sa likod ng bahay." },
        { "tr", "Çocuklar her öğleden sonra evin arkasındaki bahçede birlikte oynuyorlar." },
        { "uk", "Діти щодня після обіду граються разом у саду за будинком." },
        { "vi", "Bọn trẻ chơi cùng nhau mỗi buổi chiều trong khu vườn sau nhà." },
        { "yo", "Àwọn ọmọ náà máa ń ṣeré papọ̀ ní gbogbo ọ̀sán nínú ọgbà tó wà lẹ́yìn ilé." },
        { "zu", "Izingane zidlala ndawonye njalo ntambama engadini engemuva kwendlu." },
        { "fa", "بچه‌ها هر روز با هم در باغ بازی می‌کنند." },
        { "ur", "بچے ہر دوپہر گھر کے پیچھے باغ میں مل کر کھیلتے ہیں۔" },
        { "ar", "يلعب الأطفال معا كل يوم بعد الظهر في الحديقة خلف المنزل." },
        { "hi", "बच्चे हर दोपहर घर के पीछे बगीचे में एक साथ खेलते हैं।" },
        { "mr", "मुले दररोज दुपारी घरामागच्या बागेत एकत्र खेळतात." },
        { "ne", "बच्चाहरू हरेक दिउँसो घर पछाडिको बगैंचामा सँगै खेल्छन्।" },
        { "bn", "শিশুরা প্রতিদিন বিকেলে বাড়ির পেছনের বাগানে একসাথে খেলে।" },
        { "km", "ក្មេងៗលេងជាមួយគ្នារាល់រសៀល" },
        { "am", "ልጆቹ በየቀኑ ከሰዓት በኋላ አብረው ይጫወታሉ" },
    };
    assert_codes(rows, ARRAY_LEN(rows));
}

static void short_messages_are_enough(void **state)
{
    static const struct row rows[] = {
        { "en", "hi" },         { "en", "hello there" },    { "en", "thanks" },
        { "es", "hola" },       { "es", "gracias" },        { "fr", "bonjour" },
        { "fr", "merci" },      { "de", "danke" },          { "de", "guten Morgen" },
        { "it", "buongiorno" }, { "pt", "obrigado" },       { "pl", "dziękuję" },
        { "tr", "merhaba" },    { "cs", "děkuji" },         { "ru", "привет" },
        { "uk", "дякую" },      { "zh", "谢谢" },           { "zh", "請問" },
        { "ja", "ありがとう" }, { "ja", "東京の天気は？" }, { "ko", "안녕" },
        { "th", "สวัสดี" },       { "he", "שלום" },           { "vi", "xin chào" },
    };
    assert_codes(rows, ARRAY_LEN(rows));
}

static void markup_addresses_and_code_do_not_count(void **state)
{
    static const struct row rows[] = {
        { "bn",
          "এই পাতাটি সংক্ষেপ করুন: <html><head><title class=\"page-title\"></title></head><body>"
          "<div></div></body></html>" },
        { "de", "Was ist hier falsch?\n```python\nfor item in items:\n    print(item, the_end)\n"
                "    raise ValueError('nothing was found here')\n```" },
        { "ru", "Открой https://example.com/some/long/english/path?query=words" },
        { "fr", "Écris à john.smith@example.com pour moi" },
        { "es", "¿Qué hace getElementById y user_name en x1y2?" },
        { "zh", "解释 getElementById 和 https://example.org/reference/manual 的区别" },
        { "en", "Explain 机器学习 in plain English, please" },
        { "en", "def" }, /* nothing else is there */
        { "en", "user_name" },
        { "", "" },
        { "", "12345 67" },
        { "", "🙂🙂 !!! 3.14" },
    };
    assert_codes(rows, ARRAY_LEN(rows));
}

static void case_and_decomposed_letters_do_not_matter(void **state)
{
    static const char *const same[][2] = {
        { "Où est la bibliothèque à côté de l’école ?",
          "OU\u0300 EST LA BIBLIOTHE\u0300QUE "
          "A\u0300 CO\u0302TE\u0301 DE L’E\u0301COLE ?" },
        { "thủ đô của nước", "thu\u0309 đo\u0302 cu\u0309a nu\u031bo\u031b\u0301c" },
        { "мой край", "мои\u0306 краи\u0306" },
        { "ışık içinde iyi", "IŞIK İÇİNDE İYİ" },
    };
    for (size_t i = 0; i + 1 < ARRAY_LEN(same); i++) {
        struct language a = language_detect(str_of(same[i][0]));
        struct language b = language_detect(str_of(same[i][1]));
        assert_string_equal(a.code, b.code);
        assert_true(a.confidence == b.confidence);
    }
    assert_code(same[3][1], "tr");
}

static void what_most_of_a_long_text_is_in_counts(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(4 * MIB);
    buf_adds(&b, "Translate this to English: ");
    while (b.n < MIB)
        buf_adds(&b, "die Kinder spielen jeden Nachmittag zusammen im Garten hinter dem Haus ");
    assert_code(b.p, "de");
    buf_clear(&b);
    while (b.n < MIB)
        buf_adds(&b, "ñ");
    assert_int_equal(language_detect((struct str){ b.p, b.n }).code[0] != '\0', true);
    for (size_t i = 0; i < b.n; i += 2) /* one fence, tag or address after another, none ends */
        memcpy(b.p + i, i % 3 ? "``" : "<a", 2);
    (void)language_detect((struct str){ b.p, b.n });
}

static void candidates_are_the_languages_of_the_main_script(void **state)
{
    struct language_candidates c;
    language_candidates(&c, STR("привет, как дела"));
    assert_int_equal(c.n, 8);
    assert_true(c.share == 1);
    language_candidates(&c, STR("ελληνικά"));
    assert_int_equal(c.n, 1);
    assert_string_equal(c.of[0].code, "el");
    language_candidates(&c, STR("123"));
    assert_int_equal(c.n, 0);
    assert_string_equal(language_choose(&c).code, "");
}

static void a_policy_may_use_older_and_wider_codes(void **state)
{
    static const struct {
        const char *name, *text;
        bool match;
    } rows[] = {
        { "no", "Barna leker sammen hver ettermiddag i hagen bak huset.", true },
        { "nb", "Barna leker sammen hver ettermiddag i hagen bak huset.", true },
        { "nn", "Barna leker sammen hver ettermiddag i hagen bak huset.", false },
        { "no", "Borna leikar ikkje saman kvar ettermiddag i hagen bak huset.", true },
        { "fil", "Naglalaro ang mga bata tuwing hapon sa hardin.", true },
        { "tl", "Naglalaro ang mga bata tuwing hapon sa hardin.", true },
        { "zh-CN", "你好，请帮我写代码", true },
        { "pt-BR", "Você pode me explicar como isso funciona?", true },
        { "iw", "מהי בירת צרפת?", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        buf_addf(&b,
                 "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
                 "routing:\n  signals:\n    language: [{name: %s}]\n"
                 "  decisions:\n    - {name: hit, rules: {type: language, name: %s},"
                 " modelRefs: [{model: m}]}\n",
                 rows[i].name, rows[i].name);
        struct config *c = NULL;
        struct router *r = policy_from(b.p, &c);
        struct arena *a = arena_new(MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        assert_int_equal(route_signal_of(&route, "language", rows[i].name)->value,
                         rows[i].match ? TRUTH_true : TRUTH_false);
        (void)arena_free(a);
        (void)router_free(r);
        (void)config_unref(c);
    }
}

static void the_shipped_model_knows_the_75_languages_of_the_reference(void **state)
{
    static const char *const groups[] = { "LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HAN" };
    static const unsigned languages[] = { 49, 8, 3, 3, 2 };
    struct langid m;
    assert_int_equal(langid_open(&m, shipped_language()), 0);
    assert_true(shipped_language().n <= 2 * MIB);
    assert_int_equal(m.n, ARRAY_LEN(groups));
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        assert_non_null(langid_group(&m, groups[i]));
        assert_int_equal(langid_group(&m, groups[i])->languages, languages[i]);
    }
    assert_null(langid_group(&m, "RUNIC"));
}

static void put(struct buf *b, const void *bytes, size_t n)
{
    buf_add(b, (struct str){ bytes, n });
}

/* A model of one language and one row, all of it by hand. */
static void put_model(struct buf *b)
{
    static const uint32_t one = 1;
    static const float half = 0.5f;
    static const char script[12] = "LATIN", code[4] = "xx";
    static const char weights[68] = { 3 };
    put(b, "RSLANG1", 8);
    put(b, &one, 4);
    put(b, &half, 4);
    put(b, &half, 4);
    put(b, script, sizeof(script));
    for (int i = 0; i < 3; i++) /* languages, rows, longest */
        put(b, &one, 4);
    put(b, &half, 4);
    put(b, code, sizeof(code));
    put(b, &half, 4);
    put(b, weights, sizeof(weights));
}

static void a_model_by_hand_adds_one_weight_a_letter(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    static const uint32_t letters[] = { 'a', 'b', 'c' };
    struct langid m;
    int32_t sums[LANGID_LANGUAGES] = { 0 };
    put_model(&b);
    assert_int_equal(langid_open(&m, (struct str){ b.p, b.n }), 0);
    langid_add(langid_group(&m, "LATIN"), letters, 3, sums);
    assert_int_equal(sums[0], 9);
}

static void a_broken_model_is_refused(void **state)
{
    enum {
        AT_GROUPS = 8,
        AT_TEMPERATURE = 12,
        AT_SCRIPT = 20,
        AT_LANGUAGES = 32,
        AT_ROWS = 36,
        AT_LONGEST = 40,
        AT_SCALE = 44,
        AT_CODE = 48
    };
    static const struct {
        size_t at, n;
        const char *bytes;
    } rows[] = {
        { 0, 1, "X" },
        { AT_GROUPS, 4, "\x09\0\0\0" },
        { AT_GROUPS, 4, "\2\0\0\0" }, /* one is not there */
        { AT_TEMPERATURE, 4, "\0\0\0\0" },
        { AT_TEMPERATURE, 4, "\0\0\xc0\x7f" }, /* no number */
        { AT_SCRIPT, 12, "LLLLLLLLLLLL" },
        { AT_LANGUAGES, 4, "\0\0\0\0" },
        { AT_LANGUAGES, 4, "\x41\0\0\0" },
        { AT_ROWS, 4, "\0\0\0\0" },
        { AT_ROWS, 4, "\3\0\0\0" },
        { AT_ROWS, 4, "\0\0\0\x80" },
        { AT_LONGEST, 4, "\6\0\0\0" },
        { AT_SCALE, 4, "\0\0\x80\x7f" }, /* infinite */
        { AT_CODE, 4, "xxxx" },
    };
    struct langid m;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        put_model(&b);
        memcpy(b.p + rows[i].at, rows[i].bytes, rows[i].n);
        if (langid_open(&m, (struct str){ b.p, b.n }) != -EINVAL)
            fail_msg("row %zu was accepted", i);
    }
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    put_model(&b);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(langid_open(&m, (struct str){ b.p, n }), -EINVAL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_in_many_languages_are_told_apart),
        cmocka_unit_test(short_messages_are_enough),
        cmocka_unit_test(markup_addresses_and_code_do_not_count),
        cmocka_unit_test(case_and_decomposed_letters_do_not_matter),
        cmocka_unit_test(what_most_of_a_long_text_is_in_counts),
        cmocka_unit_test(candidates_are_the_languages_of_the_main_script),
        cmocka_unit_test(a_policy_may_use_older_and_wider_codes),
        cmocka_unit_test(the_shipped_model_knows_the_75_languages_of_the_reference),
        cmocka_unit_test(a_model_by_hand_adds_one_weight_a_letter),
        cmocka_unit_test(a_broken_model_is_refused),
    };
    return TEST_RUN(tests);
}
