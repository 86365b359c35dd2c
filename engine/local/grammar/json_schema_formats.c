#include "engine/local/grammar/json_schema_impl.h"

#define DATE_YEAR "(?:000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d{3})"
#define LEAP_YEAR "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
#define DATE                                                                                       \
    "(?:" DATE_YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|"     \
    "[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|" LEAP_YEAR "-02-29)"
#define TIME                                                                                       \
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                       \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32      \
    "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16             \
    ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16       \
    ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16   \
    ")?::)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
/* At most 253 characters: seven short labels and three long ones. */
#define SHORT_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,4}[A-Za-z0-9])?"
#define HOSTNAME "(?:" SHORT_LABEL "\\.){0,7}" LABEL "(?:\\." LABEL "){0,2}"
/* Hyphens in the third and fourth place are for encoded names, most of which decode to none. */
#define NO_PUNYCODE "(?!(?:[^.]*\\.)*[^.]{2}--)"
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define PCT "%[0-9A-Fa-f]{2}"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define SEGMENTS "(?:/" PCHAR "*)*"
#define USER "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?"
#define HOST "(?:[A-Za-z0-9._~!$&'()*+,;=-]|" PCT ")*"
#define AUTHORITY "//" USER "(?:\\[" IPV6 "\\]|" HOST ")(?::\\d{1,5})?"
#define QUERY "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define NO_COLON "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|" PCT ")+"
#define SCHEME "[A-Za-z][A-Za-z0-9+.-]*:"
#define HIER "(?:" AUTHORITY SEGMENTS "|/(?:" PCHAR "+" SEGMENTS ")?|" PCHAR "+" SEGMENTS ")"
#define RELATIVE                                                                                   \
    "(?:" AUTHORITY SEGMENTS "|/(?:" PCHAR "+" SEGMENTS ")?|" NO_COLON SEGMENTS ")?" QUERY
#define POINTER "(?:/(?:[^/~]|~[01])*)*"
#define VARSPEC "(?:\\w|" PCT ")(?:\\.?(?:\\w|" PCT "))*(?::[1-9]\\d{0,3}|\\*)?"
#define LITERALS "(?:[A-Za-z0-9._~!$&()*+,;=:@/?#\\[\\]-]|" PCT ")"
#define EXPANSION "\\{[+#./;?&]?" VARSPEC "(?:," VARSPEC ")*\\}"
#define TEMPLATE "(?:" LITERALS "|" EXPANSION ")*"

static const struct {
    const char *name, *pattern;
} formats[] = {
    /* RFC 3339; years from 1, seconds to 59, and no fractions past nanoseconds. */
    { "date", "^" DATE "$" },
    { "time", "^" TIME "$" },
    { "date-time", "^" DATE "T" TIME "$" },
    /* RFC 3339, appendix A. */
    { "duration", "^P(?:\\d{1,9}W|(?:\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?|\\d{1,9}M(?:\\d{1,9}D)?|"
                  "\\d{1,9}D)(?:T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|"
                  "\\d{1,9}S))?|T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|"
                  "\\d{1,9}S))$" },
    /* RFC 5321 without quoted local parts, comments and address literals. */
    { "email", "^" ATEXT "(?:\\." ATEXT ")*@" LABEL "(?:\\." LABEL ")+$" },
    { "idn-email", "^" ATEXT "(?:\\." ATEXT ")*@" LABEL "(?:\\." LABEL ")+$" },
    { "hostname", "^" NO_PUNYCODE HOSTNAME "$" },
    { "idn-hostname", "^" NO_PUNYCODE HOSTNAME "$" },
    { "ipv4", "^" IPV4 "$" },
    { "ipv6", "^" IPV6 "$" }, /* RFC 4291, without zones */
    { "uuid", "^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$" },
    /* RFC 3986; the internationalised kinds are written in its characters. */
    { "uri", "^" SCHEME HIER QUERY "$" },
    { "iri", "^" SCHEME HIER QUERY "$" },
    { "uri-reference", "^(?:" SCHEME HIER QUERY "|" RELATIVE ")$" },
    { "iri-reference", "^(?:" SCHEME HIER QUERY "|" RELATIVE ")$" },
    { "uri-template", "^" TEMPLATE "$" }, /* RFC 6570 */
    { "json-pointer", "^" POINTER "$" },  /* RFC 6901 */
    { "relative-json-pointer", "^(?:0|[1-9]\\d{0,8})(?:#|" POINTER ")$" },
};

const char *schema_format(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (str_is(name, formats[i].name))
            return formats[i].pattern;
    return NULL;
}
