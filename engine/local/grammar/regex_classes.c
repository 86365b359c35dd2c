#include "engine/local/grammar/regex_impl.h"

/* \d of engines that follow Unicode: general category Nd (Unicode 14). */
static const struct code_range digits_everywhere[] = {
    { 0x30, 0x39 },       { 0x660, 0x669 },     { 0x6f0, 0x6f9 },     { 0x7c0, 0x7c9 },
    { 0x966, 0x96f },     { 0x9e6, 0x9ef },     { 0xa66, 0xa6f },     { 0xae6, 0xaef },
    { 0xb66, 0xb6f },     { 0xbe6, 0xbef },     { 0xc66, 0xc6f },     { 0xce6, 0xcef },
    { 0xd66, 0xd6f },     { 0xde6, 0xdef },     { 0xe50, 0xe59 },     { 0xed0, 0xed9 },
    { 0xf20, 0xf29 },     { 0x1040, 0x1049 },   { 0x1090, 0x1099 },   { 0x17e0, 0x17e9 },
    { 0x1810, 0x1819 },   { 0x1946, 0x194f },   { 0x19d0, 0x19d9 },   { 0x1a80, 0x1a89 },
    { 0x1a90, 0x1a99 },   { 0x1b50, 0x1b59 },   { 0x1bb0, 0x1bb9 },   { 0x1c40, 0x1c49 },
    { 0x1c50, 0x1c59 },   { 0xa620, 0xa629 },   { 0xa8d0, 0xa8d9 },   { 0xa900, 0xa909 },
    { 0xa9d0, 0xa9d9 },   { 0xa9f0, 0xa9f9 },   { 0xaa50, 0xaa59 },   { 0xabf0, 0xabf9 },
    { 0xff10, 0xff19 },   { 0x104a0, 0x104a9 }, { 0x10d30, 0x10d39 }, { 0x11066, 0x1106f },
    { 0x110f0, 0x110f9 }, { 0x11136, 0x1113f }, { 0x111d0, 0x111d9 }, { 0x112f0, 0x112f9 },
    { 0x11450, 0x11459 }, { 0x114d0, 0x114d9 }, { 0x11650, 0x11659 }, { 0x116c0, 0x116c9 },
    { 0x11730, 0x11739 }, { 0x118e0, 0x118e9 }, { 0x11950, 0x11959 }, { 0x11c50, 0x11c59 },
    { 0x11d50, 0x11d59 }, { 0x11da0, 0x11da9 }, { 0x16a60, 0x16a69 }, { 0x16ac0, 0x16ac9 },
    { 0x16b50, 0x16b59 }, { 0x1d7ce, 0x1d7ff }, { 0x1e140, 0x1e149 }, { 0x1e2f0, 0x1e2f9 },
    { 0x1e950, 0x1e959 }, { 0x1fbf0, 0x1fbf9 }
};
static const struct code_range digits_ascii[] = { { '0', '9' } };
static const struct code_range word_ascii[] = {
    { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' }
};
/* Punctuation, arrows, drawings and pictographs: no engine's \w holds any of them. */
static const struct code_range no_word[] = {
    { 0x1, 0x2f },       { 0x3a, 0x40 },     { 0x5b, 0x5e },       { 0x60, 0x60 },
    { 0x7b, 0xa9 },      { 0xab, 0xb1 },     { 0xb4, 0xb4 },       { 0xb6, 0xb8 },
    { 0xbb, 0xbb },      { 0xbf, 0xbf },     { 0xd7, 0xd7 },       { 0xf7, 0xf7 },
    { 0x2000, 0x200b },  { 0x2010, 0x203e }, { 0x2041, 0x2053 },   { 0x2055, 0x205e },
    { 0x20a0, 0x20bf },  { 0x2190, 0x23ff }, { 0x2500, 0x2767 },   { 0x3000, 0x3003 },
    { 0x3008, 0x3020 },  { 0xfeff, 0xfeff }, { 0x1f300, 0x1f5ff }, { 0x1f600, 0x1f64f },
    { 0x1f680, 0x1f6c5 }
};
static const struct code_range space_everywhere[] = { { 0x9, 0xd },       { 0x20, 0x20 },
                                                      { 0xa0, 0xa0 },     { 0x1680, 0x1680 },
                                                      { 0x2000, 0x200a }, { 0x2028, 0x2029 },
                                                      { 0x202f, 0x202f }, { 0x205f, 0x205f },
                                                      { 0x3000, 0x3000 } };
/* Counted in by some engine. */
static const struct code_range space_somewhere[] = {
    { 0x1c, 0x1f }, { 0x85, 0x85 }, { 0x180e, 0x180e }, { 0x200b, 0x200b }, { 0xfeff, 0xfeff }
};
static const struct code_range line_ends[] = { { '\n', '\n' }, { '\r', '\r' }, { 0x2028, 0x2029 } };

/* What every engine counts in, and what some engine may. */
static void class_pair(char name, struct charset *sure, struct charset *maybe)
{
    CLEANUP(charset_done) struct charset not_word = { 0 };
    switch (name) {
    case 'd':
        charset_add_all(sure, digits_ascii, ARRAY_LEN(digits_ascii));
        charset_add_all(maybe, digits_everywhere, ARRAY_LEN(digits_everywhere));
        break;
    case 'w':
        charset_add_all(sure, word_ascii, ARRAY_LEN(word_ascii));
        charset_add_all(&not_word, no_word, ARRAY_LEN(no_word));
        charset_complement(maybe, &not_word);
        break;
    default:
        charset_add_all(sure, space_everywhere, ARRAY_LEN(space_everywhere));
        charset_add_all(maybe, space_everywhere, ARRAY_LEN(space_everywhere));
        charset_add_all(maybe, space_somewhere, ARRAY_LEN(space_somewhere));
    }
    charset_tidy(sure);
    charset_tidy(maybe);
}

void regex_class_add(struct regex_class *c, char name)
{
    CLEANUP(charset_done) struct charset sure = { 0 };
    CLEANUP(charset_done) struct charset maybe = { 0 };
    bool upper = name < 'a';
    class_pair((char)(name | 0x20), &sure, &maybe);
    if (upper) {
        charset_complement(&c->sure, &maybe);
        charset_complement(&c->maybe, &sure);
        return;
    }
    charset_add_all(&c->sure, sure.v, sure.n);
    charset_add_all(&c->maybe, maybe.v, maybe.n);
    c->sure.no_memory |= sure.no_memory || maybe.no_memory;
}

void regex_class_add_range(struct regex_class *c, uint32_t first, uint32_t last)
{
    charset_add(&c->sure, first, last);
    charset_add(&c->maybe, first, last);
}

void regex_class_dot(struct regex_class *c)
{
    CLEANUP(charset_done) struct charset ends = { 0 };
    charset_add_all(&ends, line_ends, ARRAY_LEN(line_ends));
    charset_complement(&c->sure, &ends);
}

void regex_class_done(struct regex_class *c)
{
    charset_done(&c->sure);
    charset_done(&c->maybe);
}
