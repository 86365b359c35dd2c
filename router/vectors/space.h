/*
 * The inside of a space and of its vectors. Private to router/vectors/.
 */
#pragma once

#include "engine/engine.h"
#include "router/vectors/vectors.h"
#include "router/vectors/words.h"

enum {
    MARKS_WIDTH = 512, /* hashed words and runs of characters */
    LEXICAL_WIDTH = WORDS_WIDTH + MARKS_WIDTH,
};

struct text_vector {
    uint32_t n;  /* of v; 0: a text without words */
    float known; /* lexical: share of what the text says that is in the table of words */
    float v[];   /* lexical: words, then marks, each of unit length; else the encoder's */
};

struct vector_space {
    struct engine *encoder; /* borrowed; NULL: lexical */
    struct words words;
};

/* Fills the vector of a text of valid UTF-8. 0 or -ENOMEM. */
int lexical_vector(const struct vector_space *s, struct str text, struct arena *arena,
                   struct text_vector *ret) MUST_USE;
/* Of vectors of a lexical space. */
double lexical_similarity(const struct text_vector *a, const struct text_vector *b);
