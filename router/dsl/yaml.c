#include "router/dsl/dsl.h"

#include "base/limits.h"

enum { STEP = 2 };

static bool is_plain_char(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
    return letter || (!first && ((c >= '0' && c <= '9') || (c && strchr(" .-+()'", c))));
}

/* A word that some reader of YAML takes for something other than a text. */
static bool is_special(struct str s)
{
    static const char *const words[] = {
        "true", "false", "yes", "no", "on", "off", "y", "n", "null"
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_nocase(s, str_of(words[i])))
            return true;
    return false;
}

static bool may_stand_plain(struct str s)
{
    enum { LONGEST = 200 };
    if (s.n == 0 || s.n > LONGEST || s.p[s.n - 1] == ' ' || is_special(s))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_plain_char(s.p[i], i == 0))
            return false;
    return true;
}

/* Characters that YAML does not take as they are, though they are no ASCII control characters. */
static bool needs_escape(int c)
{
    enum { C1_END = 0x9f, LINE = 0x2028, PARAGRAPH = 0x2029, BOM = 0xfeff, LAST_BUT_ONE = 0xfffe };
    return (c >= 0x7f && c <= C1_END) || c == LINE || c == PARAGRAPH || c == BOM ||
           c == LAST_BUT_ONE || c == LAST_BUT_ONE + 1;
}

static void print_quoted(struct buf *b, struct str s)
{
    buf_addc(b, '"');
    for (size_t pos = 0; pos < s.n;) {
        size_t from = pos;
        int c = str_utf8_next(s, &pos);
        if (c == '"' || c == '\\') {
            buf_addc(b, '\\');
            buf_addc(b, (char)c);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            buf_adds(b, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        } else if (c < ' ' || needs_escape(c)) {
            buf_addf(b, "\\u%04x", (unsigned)c);
        } else {
            buf_add(b, (struct str){ s.p + from, pos - from });
        }
    }
    buf_addc(b, '"');
}

static void print_text(struct buf *b, struct str s)
{
    if (may_stand_plain(s))
        buf_add(b, s);
    else
        print_quoted(b, s);
}

static void print_node(const struct node *n, unsigned indent, bool inline_first, struct buf *b);

static bool is_empty(const struct node *n)
{
    return (n->kind == NODE_map || n->kind == NODE_list) && n->n == 0;
}

/* Behind "key:" or "-". */
static void print_value(const struct node *n, unsigned indent, bool item, struct buf *b)
{
    if (n->kind == NODE_null) {
        buf_adds(b, " null\n");
    } else if (n->kind == NODE_scalar) {
        buf_addc(b, ' ');
        if (n->quoted)
            print_text(b, n->scalar);
        else
            buf_add(b, n->scalar);
        buf_addc(b, '\n');
    } else if (is_empty(n)) {
        buf_adds(b, n->kind == NODE_map ? " {}\n" : " []\n");
    } else if (item) {
        buf_addc(b, ' ');
        print_node(n, indent, true, b);
    } else {
        buf_addc(b, '\n');
        print_node(n, indent, false, b);
    }
}

/* `inline_first`: the first line is indented already. */
static void print_node(const struct node *n, unsigned indent, bool inline_first, struct buf *b)
{
    for (size_t i = 0; i < n->n; i++) {
        if (!inline_first || i > 0)
            buf_addf(b, "%*s", (int)indent, "");
        if (n->kind == NODE_map) {
            if (n->key_nodes[i]->quoted)
                print_text(b, n->keys[i]);
            else
                buf_add(b, n->keys[i]);
            buf_addc(b, ':');
        } else {
            buf_addc(b, '-');
        }
        print_value(n->items[i], indent + STEP, n->kind == NODE_list, b);
    }
}

void dsl_print_yaml(const struct node *n, struct buf *b)
{
    if (n->kind == NODE_scalar || n->kind == NODE_null || is_empty(n)) {
        struct buf one = BUF_INIT(b->max);
        print_value(n, 0, false, &one);
        buf_add(b, str_sub(buf_str(&one), 1)); /* without the blank before it */
        buf_done(&one);
    } else {
        print_node(n, 0, false, b);
    }
}
