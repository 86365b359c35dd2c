/*
 * Keys of AWS that the machine we run on gives: for a token of its cluster's (a role of EKS), a
 * container's, or an EC2 instance's (IMDSv2).
 *
 * Source: "AssumeRoleWithWebIdentity" of the STS API reference, "Container credential provider" and
 * "Retrieve security credentials from instance metadata" of Amazon's documentation. What is fetched
 * is "ID:SECRET:SESSION TOKEN".
 */
#pragma once

#include "engine/upstream/token.h"

/* Of AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, with AWS_ROLE_SESSION_NAME; asked of STS in the
 * region, or at AWS_ENDPOINT_URL_STS. 0; -ENOENT: they are not set; -ENOMEM. */
int aws_web_identity_source(struct token_source *ret, struct str region) MUST_USE;
/* Of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, with AWS_CONTAINER_AUTHORIZATION_TOKEN or
 * _TOKEN_FILE. 0; -ENOENT: neither is set; -ENOMEM. */
int aws_container_source(struct token_source *ret) MUST_USE;
/* Of AWS_EC2_METADATA_SERVICE_ENDPOINT, else 169.254.169.254. 0; -ENOENT: AWS_EC2_METADATA_DISABLED
 * is true; -ENOMEM. */
int aws_instance_source(struct token_source *ret) MUST_USE;
