#include "engine/local/json_scan.h"

#include "base/limits.h"

enum number_part {
    NUM_sign,
    NUM_zero,
    NUM_whole,
    NUM_dot,
    NUM_fraction,
    NUM_e,
    NUM_e_sign,
    NUM_exponent
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool in_object(const struct json_scan *s)
{
    return s->depth && (s->objects >> (s->depth - 1) & 1);
}

static enum json_step ended(struct json_scan *s)
{
    s->state = s->depth ? JSON_SCAN_after : JSON_SCAN_done;
    return s->depth ? JSON_STEP_more : JSON_STEP_done;
}

static enum json_step open_container(struct json_scan *s, bool object)
{
    if (s->depth == LIMIT_JSON_DEPTH)
        return JSON_STEP_bad;
    uint64_t bit = (uint64_t)1 << s->depth++;
    s->objects = object ? s->objects | bit : s->objects & ~bit;
    s->state = object ? JSON_SCAN_first_key : JSON_SCAN_first;
    return JSON_STEP_more;
}

static enum json_step close_container(struct json_scan *s, char c)
{
    if (s->depth == 0 || in_object(s) != (c == '}'))
        return JSON_STEP_bad;
    s->depth--;
    return ended(s);
}

static enum json_step begin_value(struct json_scan *s, char c)
{
    switch (c) {
    case '{':
    case '[':
        return open_container(s, c == '{');
    case '"':
        s->state = JSON_SCAN_in_text;
        return JSON_STEP_more;
    case 't':
        s->word = "rue";
        break;
    case 'f':
        s->word = "alse";
        break;
    case 'n':
        s->word = "ull";
        break;
    default:
        if (c != '-' && !is_digit(c))
            return JSON_STEP_bad;
        s->number = c == '-' ? NUM_sign : c == '0' ? NUM_zero : NUM_whole;
        s->state = JSON_SCAN_in_number;
        return JSON_STEP_more;
    }
    s->state = JSON_SCAN_in_word;
    return JSON_STEP_more;
}

static enum json_step in_string(struct json_scan *s, char c)
{
    if (s->escape > 1) { /* \u */
        bool hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        s->escape = s->escape == 2 ? 0 : (uint8_t)(s->escape - 1);
        return hex ? JSON_STEP_more : JSON_STEP_bad;
    }
    if (s->escape == 1) {
        s->escape = c == 'u' ? 5 : 0;
        return c && strchr("\"\\/bfnrtu", c) ? JSON_STEP_more : JSON_STEP_bad;
    }
    if (c == '\\') {
        s->escape = 1;
        return JSON_STEP_more;
    }
    if (c != '"')
        return JSON_STEP_more;
    if (s->state == JSON_SCAN_in_text)
        return ended(s);
    s->state = JSON_SCAN_colon;
    return JSON_STEP_more;
}

static enum json_step after(struct json_scan *s, char c)
{
    if (is_space(c))
        return JSON_STEP_more;
    if (c != ',')
        return c == '}' || c == ']' ? close_container(s, c) : JSON_STEP_bad;
    s->state = in_object(s) ? JSON_SCAN_next_key : JSON_SCAN_value;
    return JSON_STEP_more;
}

/* The part that c leads to, or -1: c is no more of the number. */
static int number_next(enum number_part part, char c)
{
    bool e = c == 'e' || c == 'E';
    switch (part) {
    case NUM_sign:
        return c == '0' ? NUM_zero : is_digit(c) ? NUM_whole : -1;
    case NUM_whole:
        if (is_digit(c))
            return NUM_whole;
        /* fall through */
    case NUM_zero:
        return c == '.' ? NUM_dot : e ? NUM_e : -1;
    case NUM_dot:
        return is_digit(c) ? NUM_fraction : -1;
    case NUM_fraction:
        return is_digit(c) ? NUM_fraction : e ? NUM_e : -1;
    case NUM_e:
        return c == '+' || c == '-' ? NUM_e_sign : is_digit(c) ? NUM_exponent : -1;
    case NUM_e_sign:
    case NUM_exponent:
        return is_digit(c) ? NUM_exponent : -1;
    }
    return -1;
}

static enum json_step in_number(struct json_scan *s, char c)
{
    enum number_part part = (enum number_part)s->number;
    int next = number_next(part, c);
    if (next >= 0) {
        s->number = (uint8_t)next;
        return JSON_STEP_more;
    }
    bool whole =
        part == NUM_zero || part == NUM_whole || part == NUM_fraction || part == NUM_exponent;
    if (!whole || s->depth == 0)
        return JSON_STEP_bad;
    s->state = JSON_SCAN_after;
    return after(s, c);
}

static enum json_step in_word(struct json_scan *s, char c)
{
    if (*s->word != c)
        return JSON_STEP_bad;
    return *++s->word ? JSON_STEP_more : ended(s);
}

enum json_step json_scan(struct json_scan *s, char c)
{
    switch (s->state) {
    case JSON_SCAN_in_key:
    case JSON_SCAN_in_text:
        return in_string(s, c);
    case JSON_SCAN_in_number:
        return in_number(s, c);
    case JSON_SCAN_in_word:
        return in_word(s, c);
    case JSON_SCAN_after:
        return after(s, c);
    case JSON_SCAN_done:
        return JSON_STEP_bad;
    default:
        break;
    }
    if (is_space(c))
        return JSON_STEP_more;
    switch (s->state) {
    case JSON_SCAN_first:
        return c == ']' ? close_container(s, c) : begin_value(s, c);
    case JSON_SCAN_first_key:
        if (c == '}')
            return close_container(s, c);
        /* fall through */
    case JSON_SCAN_next_key:
        s->state = JSON_SCAN_in_key;
        return c == '"' ? JSON_STEP_more : JSON_STEP_bad;
    case JSON_SCAN_colon:
        s->state = JSON_SCAN_value;
        return c == ':' ? JSON_STEP_more : JSON_STEP_bad;
    default:
        return begin_value(s, c);
    }
}

bool json_scan_is_raw(const struct json_scan *s, char c)
{
    return (s->state == JSON_SCAN_in_key || s->state == JSON_SCAN_in_text) &&
           (unsigned char)c < ' ';
}
