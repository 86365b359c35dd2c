/*
 * JSON numbers within bounds, digit by digit: exact for integers of any size and for decimals.
 */
#pragma once

#include "engine/local/grammar/lang.h"

/* A decimal fraction; digits without leading (whole) or trailing (fraction) zeros. */
enum { DECIMAL_DIGITS = 40 };
struct decimal {
    bool negative;
    unsigned n_whole, n_fraction;
    char whole[DECIMAL_DIGITS], fraction[DECIMAL_DIGITS]; /* '0' to '9' */
};
/* From JSON's notation. False: more digits than a decimal holds. */
bool decimal_parse(struct decimal *ret, struct str text);
int decimal_cmp(const struct decimal *a, const struct decimal *b);

struct json_range {
    bool integer;
    bool has_min, has_max, above_min, below_max; /* above, below: the bound itself is out */
    struct decimal min, max;
    /* The value is a multiple of step / 10^scale; 0: of nothing. */
    uint32_t step, scale;
};
enum { JSON_RANGE_STEP_MAX = 200 }; /* without its factors of ten */

/* Narrows the range. False: the multiples cannot be followed. */
bool json_range_min(struct json_range *r, const struct decimal *d, bool above);
bool json_range_max(struct json_range *r, const struct decimal *d, bool below);
bool json_range_step(struct json_range *r, const struct decimal *d);

/* Adds the operand of the range's texts. Exponents are not written. */
void json_range_add(struct lang *l, const struct json_range *r);
