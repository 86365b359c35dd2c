/*
 * Functions compiled more than once: for every processor of the architecture, and for newer ones.
 */
#pragma once

/*
 * EACH_CPU before a function whose loops gain by wide vectors and bit counts; the loader picks.
 * Not under sanitizers, which are not up when the loader asks.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) &&       \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define EACH_CPU
#endif
