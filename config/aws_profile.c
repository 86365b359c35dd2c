#include "config/aws_profile.h"

#include <stdio.h>
#include <stdlib.h>

struct aws_keys aws_keys_of_environment(void)
{
    return (struct aws_keys){ .id = str_of(getenv("AWS_ACCESS_KEY_ID")),
                              .secret = str_of(getenv("AWS_SECRET_ACCESS_KEY")),
                              .token = str_of(getenv("AWS_SESSION_TOKEN")) };
}

static struct str or_environment(struct str configured, const char *name)
{
    return configured.n ? configured : str_of(getenv(name));
}

void aws_place_choose(struct aws_place *ret, struct str file, struct str profile)
{
    struct aws_keys keys = aws_keys_of_environment();
    struct str home = str_of(getenv("HOME"));
    bool here = keys.id.n && keys.secret.n && profile.n == 0;
    profile = or_environment(profile, "AWS_PROFILE");
    if (!here)
        file = or_environment(file, "AWS_SHARED_CREDENTIALS_FILE");
    (void)snprintf(ret->file, sizeof(ret->file), "%.*s", STR_ARG(file));
    if (file.n == 0 && !here && home.n)
        (void)snprintf(ret->file, sizeof(ret->file), "%.*s/.aws/credentials", STR_ARG(home));
    (void)snprintf(ret->profile, sizeof(ret->profile), "%.*s",
                   STR_ARG(profile.n ? profile : STR("default")));
}

/* "[name]" or "[profile name]". */
static bool is_section(struct str line, const char *profile)
{
    struct str name = str_trim(str_head(str_sub(line, 1), line.n >= 2 ? line.n - 2 : 0));
    if (str_is(name, profile))
        return true;
    bool is_long = str_starts(name, STR("profile ")) || str_starts(name, STR("profile\t"));
    return is_long && str_is(str_trim(str_sub(name, sizeof("profile"))), profile);
}

struct aws_keys aws_keys_of_profile(struct str text, const char *profile)
{
    struct aws_keys keys = { 0 };
    struct str line, key, value;
    bool here = false;
    while (text.n) {
        if (!str_cut(text, '\n', &line, &text)) {
            line = text;
            text = STR("");
        }
        line = str_trim(line);
        if (line.n && line.p[0] == '[')
            here = is_section(line, profile);
        if (!here || !str_cut(line, '=', &key, &value))
            continue;
        key = str_trim(key);
        value = str_trim(value);
        if (str_is(key, "aws_access_key_id"))
            keys.id = value;
        else if (str_is(key, "aws_secret_access_key"))
            keys.secret = value;
        else if (str_is(key, "aws_session_token"))
            keys.token = value;
    }
    return keys;
}
