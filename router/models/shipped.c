#include "router/models/shipped.h"

/* SHIPPED_DIRECTORY is models/signals/ of the source tree; the build gives it. */
#define SHIP(name, file)                                                                           \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            "shipped_begin_" #name ":\n"                                                           \
            ".incbin \"" SHIPPED_DIRECTORY "/" file "\"\n"                                         \
            "shipped_end_" #name ":\n"                                                             \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char shipped_begin_##name[] __attribute__((visibility("hidden")));                \
    extern const char shipped_end_##name[] __attribute__((visibility("hidden")));                  \
    struct str shipped_##name(void)                                                                \
    {                                                                                              \
        return (struct str){ shipped_begin_##name,                                                 \
                             (size_t)(shipped_end_##name - shipped_begin_##name) };                \
    }

SHIPPED_FILES(SHIP)
