#include "router/signals/learned.h"

#include "router/models/shipped.h"
#include "router/signals/unicode.h"
#include "router/vectors/vectors.h"
#include "router/vectors/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

enum {
    MAX_CLASSES = 64,
    WINDOW = 160, /* code points of a window … */
    STEP = 100,   /* … and from one to the next */
    SCRATCH_BYTES = 4 << 20,
};

int learned_open(struct classifier_file **ret, const char *name, struct str bytes,
                 const struct signal_rules *rules)
{
    struct fail why = { 0 };
    int r = classifier_file_open(ret, name, bytes, &why);
    if (r == 0 && classifier_file_classes(*ret) > MAX_CLASSES) {
        *ret = classifier_file_close(*ret);
        r = fail_set(&why, FAIL_invalid_request, "%s has more than %d classes", name, MAX_CLASSES);
    }
    if (r > 0)
        (void)node_problem(rules->p, PROBLEM_warning, rules->list, rules->path,
                           "%s; leaves that need it are unknown", why.message);
    return r < 0 ? r : 0;
}

static int background(struct background *ret)
{
    struct fail why = { 0 };
    return background_open(ret, "rarity.bin", shipped_rarity(), &why) == 0 ? 0 : -EINVAL;
}

/* The words of the turn: those of its lexical vector, which whoever compares asks for as well. */
static int turn_words(struct signal_view *v, float ret[WORDS_WIDTH])
{
    const struct text_vector *shared;
    if (!v->space || vector_space_blocks(v->space)) {
        words_vector(v->folded, ret);
        return 0;
    }
    int e = signal_vector(v, v->text, &shared);
    if (e < 0)
        return e;
    float *values = arena_array(v->arena, vector_width(shared) + WORDS_WIDTH, sizeof(*values));
    if (!values)
        return -ENOMEM;
    vector_values(shared, values); /* a lexical vector begins with them */
    memcpy(ret, values, WORDS_WIDTH * sizeof(*ret));
    return 0;
}

int learned_turn(struct signal_view *v, const struct features **ret)
{
    if (!v->weighed) {
        struct background b;
        struct features hashed, *f = arena_alloc(v->arena, sizeof(*f));
        float words[WORDS_WIDTH];
        if (!f || signal_folded(v) < 0)
            return -ENOMEM;
        int e = background(&b);
        if (e == 0)
            e = features_of(&hashed, v->folded, b.rarity, v->arena);
        if (e == 0)
            e = turn_words(v, words);
        if (e == 0)
            e = background_features(&b, &hashed, words, v->arena, f);
        if (e < 0)
            return e;
        v->weighed = f;
    }
    *ret = v->weighed;
    return 0;
}

int learned_text(struct str text, struct arena *arena, struct features *ret)
{
    struct background b;
    int e = background(&b);
    return e == 0 ? classifier_read_text(ret, &b, text, arena) : e;
}

/* The features of a folded text. */
static int read_folded(struct str folded, struct arena *arena, struct features *ret)
{
    struct features f = { 0 };
    struct background b;
    float words[WORDS_WIDTH];
    int e = background(&b);
    if (e == 0)
        e = features_of(&f, folded, b.rarity, arena);
    if (e < 0)
        return e;
    words_vector(folded, words);
    return background_features(&b, &f, words, arena, ret);
}

static double probability(const struct classifier_file *c, uint32_t k, const struct features *f)
{
    float p[MAX_CLASSES];
    classifier_file_read(c, f, p);
    return (double)p[k];
}

/* Bytes of the first n code points. */
static size_t head_bytes(struct str text, size_t n)
{
    size_t pos = 0;
    for (size_t i = 0; i < n && pos < text.n; i++)
        (void)str_utf8_next(text, &pos);
    return pos;
}

/* Many windows are tried, so each is as much less likely to hold it than a whole turn. */
static double rarer(double p)
{
    static const double ODDS =
        0.5; /* chosen for few false alarms in long texts that hold nothing */
    return p * ODDS / (p * ODDS + 1 - p);
}

/* The most of all windows of a folded text and *most. */
static int windows_most(const struct classifier_file *c, uint32_t k, struct str folded,
                        double *most)
{
    if (head_bytes(folded, WINDOW) == folded.n)
        return 0; /* the whole was one */
    for (struct str rest = folded;; rest = str_sub(rest, head_bytes(rest, STEP))) {
        CLEANUP(arena_freep) struct arena *scratch = arena_new(SCRATCH_BYTES);
        struct features f = { 0 };
        struct str window = str_head(rest, head_bytes(rest, WINDOW));
        int e = scratch ? read_folded(window, scratch, &f) : -ENOMEM;
        if (e < 0)
            return e;
        double p = rarer(probability(c, k, &f));
        *most = p > *most ? p : *most;
        if (window.n == rest.n)
            return 0;
    }
}

int learned_turn_most(const struct classifier_file *c, uint32_t k, struct signal_view *v,
                      double *ret)
{
    const struct features *f;
    int e = learned_turn(v, &f);
    if (e < 0)
        return e;
    *ret = probability(c, k, f);
    return windows_most(c, k, v->folded, ret);
}

int learned_text_most(const struct classifier_file *c, uint32_t k, struct str text, double *ret)
{
    size_t room = 8 * text.n + SCRATCH_BYTES; /* two copies, and the features of its thirds */
    CLEANUP(arena_freep) struct arena *scratch = arena_new(room);
    struct str valid = scratch ? unicode_valid_text(text, scratch) : STR_NULL;
    struct str folded = valid.p ? unicode_fold_text(valid, scratch) : STR_NULL;
    struct features f = { 0 };
    int e = folded.p ? read_folded(folded, scratch, &f) : -ENOMEM;
    if (e < 0)
        return e;
    *ret = probability(c, k, &f);
    return windows_most(c, k, folded, ret);
}

/* ---- what a rule means ---- */

static bool letter(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Whether a word of the text begins so; case does not matter. */
static bool has_word(struct str text, struct str begin)
{
    for (size_t i = 0; i + begin.n <= text.n; i++)
        if ((i == 0 || !letter(text.p[i - 1])) &&
            str_eq_nocase((struct str){ text.p + i, begin.n }, begin))
            return true;
    return false;
}

/* Marks between words are alike, case does not matter. */
static bool label_at(const char *at, const char *label, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (tolower((unsigned char)at[k]) != label[k] && (letter(at[k]) || letter(label[k])))
            return false;
    return true;
}

/* "needs_fact_check" inside "our-needs-fact-check-rule" */
static bool has_label(struct str name, const char *label)
{
    size_t n = strlen(label);
    for (size_t i = 0; i + n <= name.n; i++)
        if (label_at(name.p + i, label, n))
            return true;
    return false;
}

static size_t only_label_inside(struct str name, const struct label_words *labels, size_t n)
{
    size_t found = n;
    for (size_t i = 0; i < n; i++) {
        if (!has_label(name, labels[i].label))
            continue;
        if (found < n)
            return n;
        found = i;
    }
    return found;
}

size_t learned_label(struct str name, struct str description, const struct label_words *labels,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, labels[i].label))
            return i;
    size_t best = only_label_inside(name, labels, n);
    if (best < n)
        return best;
    unsigned most = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned count = 0;
        for (const char *const *w = labels[i].words; *w; w++)
            count += 2u * has_word(name, str_of(*w)) + has_word(description, str_of(*w));
        if (count == most)
            best = n;
        if (count > most) {
            most = count;
            best = i;
        }
    }
    return most ? best : n;
}

void learned_no_label(const struct signal_rules *rules, size_t i, const struct label_words *labels,
                      size_t n)
{
    char path[256];
    CLEANUP(buf_done) struct buf list = BUF_INIT(1024);
    for (size_t k = 0; k < n; k++)
        buf_addf(&list, "%s%s", k ? ", " : "", labels[k].label);
    (void)snprintf(path, sizeof(path), "%s[%zu].name", rules->path, i);
    (void)node_problem(rules->p, PROBLEM_warning, node_at(rules->list, i), path,
                       "neither the name nor the description says which of %s is meant: its leaves "
                       "are unknown",
                       list.p ? list.p : "its labels");
}
