/*
 * Files of models/signals/ inside the program, as they are on disk: whoever reads one checks it.
 */
#pragma once

#include "base/str.h"

/* X(name, file in models/signals/) */
#define SHIPPED_FILES(X)                                                                           \
    X(domain, "domain.model")                                                                      \
    X(fact_check, "fact_check.model")                                                              \
    X(feedback, "feedback.model")                                                                  \
    X(jailbreak, "jailbreak.model")                                                                \
    X(language, "language.bin")                                                                    \
    X(modality, "modality.model")                                                                  \
    X(rarity, "rarity.bin")                                                                        \
    X(words, "words.bin")

#define SHIPPED_DECLARE(name, file) struct str shipped_##name(void); /* static; 16-byte aligned */
SHIPPED_FILES(SHIPPED_DECLARE)
#undef SHIPPED_DECLARE
