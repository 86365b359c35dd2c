#include "engine/upstream/lora_name.h"

enum { DIGITS = 12 /* of a digest */, PATH_BYTES = 4096 };

void lora_name_there(char ret[static LORA_NAME], const struct engine_adapter *a)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &a->digest);
    size_t n = 0;
    for (size_t i = 0; i < a->name.n && n < LORA_NAME - DIGITS - 2; i++) {
        char c = a->name.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_';
        ret[n++] = plain ? c : '-';
    }
    ret[n++] = '.';
    memcpy(ret + n, hex, DIGITS);
    ret[n + DIGITS] = '\0';
}

struct str lora_name_digits(const char *name)
{
    size_t n = strlen(name);
    if (n <= DIGITS || name[n - DIGITS - 1] != '.')
        return STR_NULL;
    struct str digits = { name + n - DIGITS, DIGITS };
    return strspn(digits.p, "0123456789abcdef") == DIGITS ? digits : STR_NULL;
}

void lora_name_path(struct buf *b, struct str pattern, const char *name,
                    const struct sha256 *digest)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, digest);
    const struct {
        struct str word, value;
    } marks[] = { { STR("{digest}"), { hex, SHA256_HEX } },
                  { STR("{digest2}"), { hex, 2 } },
                  { STR("{name}"), str_of(name) } };
    for (size_t i = 0; i < pattern.n;) {
        size_t m = 0;
        while (m < ARRAY_LEN(marks) && !str_starts(str_sub(pattern, i), marks[m].word))
            m++;
        if (m == ARRAY_LEN(marks)) {
            buf_addc(b, pattern.p[i++]);
            continue;
        }
        buf_add(b, marks[m].value);
        i += marks[m].word.n;
    }
}

void lora_name_hide(struct buf *b, struct str said, struct str pattern, const char *name,
                    const struct engine_adapter *a)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(PATH_BYTES);
    lora_name_path(&path, pattern, name, &a->digest);
    const struct {
        struct str word, instead;
    } marks[] = { { buf_str(&path), STR("its folder") }, { str_of(name), a->name } };
    for (size_t i = 0; i < said.n;) {
        size_t m = 0;
        while (m < ARRAY_LEN(marks) &&
               (!marks[m].word.n || !str_starts(str_sub(said, i), marks[m].word)))
            m++;
        if (m == ARRAY_LEN(marks)) {
            buf_addc(b, said.p[i++]);
            continue;
        }
        buf_add(b, marks[m].instead);
        i += marks[m].word.n;
    }
}
