/*
 * Where keys for Amazon Web Services lie, as all their tools look for them: the environment, or a
 * section of a profile file ("~/.aws/credentials").
 */
#pragma once

#include <limits.h>

#include "base/str.h"

struct aws_keys { /* views of the text, or of the environment; empty: not there */
    struct str id, secret, token;
};

/* Chosen once, read at each use: whoever rotates keys replaces the file. */
struct aws_place {
    char file[PATH_MAX]; /* "": the environment */
    char profile[128];   /* section of the file */
};

/*
 * What is configured (both may be empty). Where neither is: AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY, if both are set. Else AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials,
 * and in them AWS_PROFILE or "default".
 */
void aws_place_choose(struct aws_place *ret, struct str file, struct str profile);

struct aws_keys aws_keys_of_environment(void);
/* Of the section "[profile]", also written "[profile NAME]". */
struct aws_keys aws_keys_of_profile(struct str text, const char *profile);
