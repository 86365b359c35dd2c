/*
 * How well scores of a prompt's difficulty say which prompts the stronger of two models is worth.
 */
#pragma once

/*
 * Prints, for a file of prompts with what a weak and a strong model got (weak_correct and
 * strong_correct, or models.NAME.score: the worst and the best of them), the APGR of several
 * scores: the mean, over all shares of prompts that the strong model answers, of the part of the
 * gap between the models that sending it the highest scores recovers (Ong et al., "RouteLLM",
 * 2024). Returns an exit status.
 */
int difficulty_report(const char *path);
