/*
 * Ownership by scope: a variable that frees itself, and the word for giving it away.
 *
 *     CLEANUP(thing_freep) struct thing *t = NULL;
 *     ...
 *     *ret = TAKE(t);
 */
#pragma once

#include <stddef.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Yields the pointer and leaves NULL behind: the value has moved. */
#define TAKE(x)                                                                                    \
    __extension__({                                                                                \
        __typeof__(x) *take_from_ = &(x);                                                          \
        __typeof__(x) taken_ = *take_from_;                                                        \
        *take_from_ = NULL;                                                                        \
        taken_;                                                                                    \
    })

/* Defines FNp(TYPE *), for CLEANUP, out of FN(TYPE), which accepts NULL. */
#define DEFINE_CLEANUP(type, fn)                                                                   \
    static inline void fn##p(type *p)                                                              \
    {                                                                                              \
        if (*p)                                                                                    \
            (void)fn(*p);                                                                          \
    }                                                                                              \
    struct own_semicolon_

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

void own_free(void *pointer_to_pointer); /* CLEANUP(own_free) char *s: free(3) */
void own_close(const int *fd);           /* CLEANUP(own_close) int fd = -1: close(2) */
void own_fclose(void *pointer_to_file);  /* CLEANUP(own_fclose) FILE *f: fclose(3) */
