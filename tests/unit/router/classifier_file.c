#include "router/linear/classifier_file.h"

#include "base/limits.h"
#include "router/signals/unicode.h"
#include "router/vectors/words.h"
#include "tests/support/test.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_BYTES = 64 << 20, FILE_BYTES = 2 << 20 };

static const struct str labels[] = { STR("pay_bill"), STR("weather"), STR("music") };
static const struct classifier_example examples[] = {
    { STR("pay my electricity invoice"), 0 }, { STR("I want to settle a payment"), 0 },
    { STR("will it rain tomorrow"), 1 },      { STR("how hot is it outside"), 1 },
    { STR("play a song by the Beatles"), 2 }, { STR("put on some jazz"), 2 },
};
static const char *const texts[] = { "pay the invoice", "rain?", "jazz songs", "no word of these",
                                     "" };

struct fixture {
    struct arena *arena;
    struct buf rarity, file;
    struct background background;
    struct classifier *classifier;
};

static struct features features(const char *text, struct arena *a)
{
    struct features f = { 0 };
    assert_int_equal(classifier_features(&f, str_of(text), a), 0);
    return f;
}

/* As the classifier reads it. */
static struct features read_text(const struct fixture *f, const char *text)
{
    struct features x = { 0 };
    assert_int_equal(classifier_read_text(&x, &f->background, str_of(text), f->arena), 0);
    return x;
}

/* Counts the examples, learns from them and writes both files. */
static void begin(struct fixture *f, size_t max_bytes)
{
    CLEANUP(rarity_done) struct rarity r;
    struct fail why;
    *f = (struct fixture){ .arena = arena_new(ARENA_BYTES),
                           .rarity = BUF_INIT(FILE_BYTES),
                           .file = BUF_INIT(FILE_BYTES) };
    assert_int_equal(rarity_init(&r), 0);
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        struct features x = features(examples[i].text.p, f->arena);
        rarity_count(&r, &x);
    }
    assert_int_equal(background_write(&r, &f->rarity), 0);
    assert_int_equal(background_open(&f->background, "r", buf_str(&f->rarity), &why), 0);
    struct linear_options o = { LINEAR_softmax, ARRAY_LEN(labels), 20, 100 };
    assert_int_equal(classifier_train_on(&f->classifier, &f->background, labels, examples,
                                         ARRAY_LEN(examples), &o),
                     0);
    assert_int_equal(classifier_file_write(f->classifier, max_bytes, &f->file), 0);
    assert_true(f->file.n <= max_bytes);
}

static void end(struct fixture *f)
{
    (void)classifier_free(f->classifier);
    buf_done(&f->rarity);
    buf_done(&f->file);
    (void)arena_free(f->arena);
}

static void rarity_in_a_file_is_what_was_counted(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    CLEANUP(rarity_done) struct rarity r;
    assert_int_equal(rarity_init(&r), 0);
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        struct features x = features(examples[i].text.p, f.arena);
        rarity_count(&r, &x);
    }
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++) {
        float read = 1 + f.background.step * f.background.rarity[id];
        assert_true(fabsf(read - rarity_of(&r, id)) <= f.background.step);
    }
    struct features x = features("pay rain", f.arena), y = features("pay rain", f.arena);
    CLEANUP(own_free) float *weight = calloc(FEATURE_BUCKETS, sizeof(*weight));
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++)
        weight[id] = rarity_of(&r, id);
    background_weigh(&f.background, &x);
    features_weigh(&y, weight);
    for (uint32_t i = 0; i < x.n; i++)
        assert_true(fabsf(x.value[i] - y.value[i]) < 0.01f);
    end(&f);
}

static void words_stand_behind_what_is_hashed(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    struct features hashed = features("will it rain", f.arena), x = read_text(&f, "Will it rain");
    float words[WORDS_WIDTH];
    words_vector(STR("will it rain"), words);
    assert_int_equal(x.n, hashed.n + WORDS_WIDTH);
    assert_int_equal(x.n_words, hashed.n_words);
    for (uint32_t k = 0; k < WORDS_WIDTH; k++) {
        float ratio = x.value[hashed.n] / words[0];
        assert_true(x.id[hashed.n + k] < FEATURE_BUCKETS);
        assert_true(fabsf(x.value[hashed.n + k] - ratio * words[k]) < 1e-5f);
    }
    end(&f);
}

static void a_file_scores_as_what_it_was_written_from(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    struct classifier_file *c = NULL;
    struct fail why;
    assert_int_equal(classifier_file_open(&c, "c", buf_str(&f.file), &why), 0);
    assert_int_equal(classifier_file_classes(c), ARRAY_LEN(labels));
    for (uint32_t i = 0; i < ARRAY_LEN(labels); i++) {
        assert_true(str_eq(classifier_file_label(c, i), labels[i]));
        assert_int_equal(classifier_file_find(c, labels[i]), i);
    }
    assert_int_equal(classifier_file_find(c, STR("Music")), -1);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        float whole[ARRAY_LEN(labels)], read[ARRAY_LEN(labels)], sum = 0;
        struct features x = read_text(&f, texts[i]);
        classifier_file_scores(c, &x, read);
        assert_int_equal(classifier_scores(f.classifier, str_of(texts[i]), whole, f.arena), 0);
        for (size_t k = 0; k < ARRAY_LEN(labels); k++)
            assert_true(fabsf(whole[k] - read[k]) < 0.05f);
        classifier_file_read(c, &x, read);
        for (size_t k = 0; k < ARRAY_LEN(labels); k++)
            sum += read[k];
        assert_true(fabsf(sum - 1) < 1e-5f);
    }
    (void)classifier_file_close(c);
    end(&f);
}

static void the_temperature_divides_the_scores(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    classifier_set_temperature(f.classifier, 2);
    struct buf warm = BUF_INIT(FILE_BYTES);
    struct classifier_file *c = NULL, *w = NULL;
    struct fail why;
    float one[ARRAY_LEN(labels)], two[ARRAY_LEN(labels)];
    assert_int_equal(classifier_file_write(f.classifier, FILE_BYTES, &warm), 0);
    assert_int_equal(classifier_file_open(&c, "c", buf_str(&f.file), &why), 0);
    assert_int_equal(classifier_file_open(&w, "w", buf_str(&warm), &why), 0);
    struct features x = read_text(&f, "pay the bill");
    classifier_file_scores(c, &x, one);
    classifier_file_scores(w, &x, two);
    for (size_t k = 0; k < ARRAY_LEN(labels); k++)
        assert_true(fabsf(one[k] / 2 - two[k]) < 1e-4f);
    (void)classifier_file_close(c);
    (void)classifier_file_close(w);
    buf_done(&warm);
    end(&f);
}

static void a_file_lies_anywhere_and_is_never_written_to(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    size_t size = f.file.n + 8;
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    memcpy(at + 1, f.file.p, f.file.n); /* aligned to nothing */
    assert_int_equal(mprotect(at, size, PROT_READ), 0);
    struct classifier_file *c = NULL;
    struct fail why;
    float s[ARRAY_LEN(labels)];
    assert_int_equal(classifier_file_open(&c, "c", (struct str){ at + 1, f.file.n }, &why), 0);
    struct features x = read_text(&f, "pay the invoice");
    classifier_file_scores(c, &x, s);
    assert_true(s[0] > s[1] && s[0] > s[2]);
    (void)classifier_file_close(c);
    (void)munmap(at, size);
    end(&f);
}

static void of_a_small_file_the_strongest_features_are_kept(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    struct classifier_file *all = NULL, *few = NULL;
    struct fail why;
    size_t size = f.file.n;
    assert_int_equal(classifier_file_open(&all, "c", buf_str(&f.file), &why), 0);
    size_t rows = classifier_file_rows(all);
    assert_true(rows > 100);
    size_t cut = size - rows / 2 * ARRAY_LEN(labels);
    struct buf small = BUF_INIT(FILE_BYTES);
    assert_int_equal(classifier_file_write(f.classifier, cut, &small), 0);
    assert_true(small.n <= cut && small.n > cut - ARRAY_LEN(labels));
    assert_int_equal(classifier_file_open(&few, "c", buf_str(&small), &why), 0);
    assert_int_equal(classifier_file_rows(few), rows - rows / 2);
    float s[ARRAY_LEN(labels)];
    struct features x = read_text(&f, "pay my electricity invoice");
    classifier_file_scores(few, &x, s);
    assert_true(s[0] > s[1] && s[0] > s[2]);
    buf_clear(&small);
    assert_int_equal(classifier_file_write(f.classifier, 1000, &small), -E2BIG);
    (void)classifier_file_close(all);
    (void)classifier_file_close(few);
    buf_done(&small);
    end(&f);
}

static void only_what_was_trained_on_a_background_is_written(void **state)
{
    struct classifier *c = NULL;
    struct buf out = BUF_INIT(FILE_BYTES);
    struct linear_options o = { LINEAR_softmax, ARRAY_LEN(labels), 20, 10 };
    assert_int_equal(classifier_train(&c, labels, examples, ARRAY_LEN(examples), &o), 0);
    assert_int_equal(classifier_file_write(c, FILE_BYTES, &out), -EINVAL);
    (void)classifier_free(c);
    buf_done(&out);
}

/* ---- damage ---- */

enum { /* where the fields of the head are */
       AT_MAGIC = 0,
       AT_VERSION = 8,
       AT_BITS = 12,
       AT_FINGERPRINT = 16,
       AT_CLASSES = 20,
       AT_ROWS = 24,
       AT_LABEL_BYTES = 28,
       AT_TEMPERATURE = 32,
       AT_ZERO = 36,
       AT_LABELS = 40,
};

static void refused(struct str bytes, const char *because)
{
    struct classifier_file *c = NULL;
    struct fail why = { 0 };
    assert_int_equal(classifier_file_open(&c, "this.model", bytes, &why), FAILED);
    assert_null(c);
    assert_non_null(strstr(why.message, "this.model"));
    if (!strstr(why.message, because))
        fail_msg("'%s' does not say '%s'", why.message, because);
}

static void a_damaged_file_is_refused_with_its_fault(void **state)
{
    static const uint32_t nan = 0x7fc00000, infinite = 0x7f800000, minus_one = 0xbf800000;
    struct {
        size_t at;
        uint32_t value;
        const char *because;
    } rows[] = {
        { AT_MAGIC, 0, "rslinear" },
        { AT_VERSION, 2, "version" },
        { AT_BITS, FEATURE_BITS + 1, "version" },
        { AT_FINGERPRINT, 1, "other features" },
        { AT_CLASSES, 0, "out of range" },
        { AT_CLASSES, 1, "out of range" },
        { AT_CLASSES, 4, "length" },
        { AT_CLASSES, UINT32_MAX, "out of range" },
        { AT_ROWS, 0, "length" },
        { AT_ROWS, UINT32_MAX, "out of range" },
        { AT_LABEL_BYTES, 3, "length" },
        { AT_LABEL_BYTES, UINT32_MAX, "out of range" },
        { AT_TEMPERATURE, 0, "temperature" },
        { AT_TEMPERATURE, nan, "temperature" },
        { AT_TEMPERATURE, infinite, "temperature" },
        { AT_TEMPERATURE, minus_one, "temperature" },
        { AT_ZERO, 7, "version" },
        { AT_LABELS, 0, "names" },               /* "\0\0\0\0bill": empty */
        { AT_LABELS, UINT32_MAX, "names" },      /* no UTF-8 */
        { AT_LABELS + 23, nan, "number" },       /* the first bias, behind "pay_bill", … */
        { AT_LABELS + 35, minus_one, "number" }, /* the first scale */
        { AT_LABELS + 47, UINT32_MAX, "as many features" },
    };
    struct fixture f;
    begin(&f, FILE_BYTES);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        char kept[4];
        memcpy(kept, f.file.p + rows[r].at, sizeof(kept));
        memcpy(f.file.p + rows[r].at, &rows[r].value, sizeof(kept));
        refused(buf_str(&f.file), rows[r].because);
        memcpy(f.file.p + rows[r].at, kept, sizeof(kept));
    }
    end(&f);
}

static void a_file_of_another_length_is_refused(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    struct str all = buf_str(&f.file);
    for (size_t n = 0; n < AT_LABELS; n++)
        refused(str_head(all, n), "too short");
    refused(str_head(all, AT_LABELS), "length");
    refused(str_head(all, all.n - 1), "length");
    buf_addc(&f.file, 0);
    refused(buf_str(&f.file), "length");
    end(&f);
}

static void a_damaged_table_of_rarity_is_refused(void **state)
{
    struct fixture f;
    begin(&f, FILE_BYTES);
    struct background b;
    struct fail why;
    struct str all = buf_str(&f.rarity);
    static const struct {
        size_t at;
        uint32_t value;
    } rows[] = { { 0, 0 }, { 8, 2 }, { 12, 5 }, { 20, 0x7fc00000 }, { 20, 0xbf800000 } };
    assert_int_equal(background_open(&b, "r", str_head(all, all.n - 1), &why), FAILED);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        char kept[4];
        memcpy(kept, f.rarity.p + rows[r].at, sizeof(kept));
        memcpy(f.rarity.p + rows[r].at, &rows[r].value, sizeof(kept));
        assert_int_equal(background_open(&b, "r", all, &why), FAILED);
        memcpy(f.rarity.p + rows[r].at, kept, sizeof(kept));
    }
    end(&f);
}

/* ---- calibration ---- */

static void the_temperature_that_drew_the_classes_is_found(void **state)
{
    enum { N = 20000, K = 3 };
    static const float truth[] = { 0.25f, 1, 4 };
    CLEANUP(own_free) float *scores = calloc((size_t)N * K, sizeof(*scores));
    CLEANUP(own_free) uint32_t *y = calloc(N, sizeof(*y));
    for (size_t t = 0; t < ARRAY_LEN(truth); t++) {
        uint64_t random = 3;
        for (size_t i = 0; i < N; i++) {
            float p[K], u = (float)(test_random(&random) % 100000) / 100000;
            for (size_t k = 0; k < K; k++)
                p[k] = scores[i * K + k] = (float)(test_random(&random) % 4000) / 1000 - 2;
            linear_softmax(p, K, truth[t]);
            for (y[i] = 0; y[i] < K - 1 && u >= p[y[i]]; y[i]++)
                u -= p[y[i]];
        }
        float found = linear_fit_temperature(scores, y, N, K);
        assert_true(fabsf(found / truth[t] - 1) < 0.1f);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(rarity_in_a_file_is_what_was_counted),
        cmocka_unit_test(words_stand_behind_what_is_hashed),
        cmocka_unit_test(a_file_scores_as_what_it_was_written_from),
        cmocka_unit_test(the_temperature_divides_the_scores),
        cmocka_unit_test(a_file_lies_anywhere_and_is_never_written_to),
        cmocka_unit_test(of_a_small_file_the_strongest_features_are_kept),
        cmocka_unit_test(only_what_was_trained_on_a_background_is_written),
        cmocka_unit_test(a_damaged_file_is_refused_with_its_fault),
        cmocka_unit_test(a_file_of_another_length_is_refused),
        cmocka_unit_test(a_damaged_table_of_rarity_is_refused),
        cmocka_unit_test(the_temperature_that_drew_the_classes_is_found),
    };
    return TEST_RUN(tests);
}
