/* The compute team: every part of every piece of work runs exactly once, parked or spinning. */
#include "engine/local/team.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PARTS = 97, ROUNDS = 2000 };

static void count(void *arg, uint32_t part, uint32_t member)
{
    (void)member;
    ((uint32_t *)arg)[part]++;
}

int main(void)
{
    for (uint32_t size = 1; size <= 4; size++) {
        struct team *t = NULL;
        if (team_new(&t, size) < 0 || team_size(t) != size)
            return 1;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint32_t counts[PARTS] = { 0 }, n = round % (PARTS + 1);
            team_run(t, count, counts, n);
            for (uint32_t i = 0; i < PARTS; i++)
                if (counts[i] != (i < n)) {
                    (void)fprintf(stderr, "size %u round %u: part %u ran %u times\n", size, round,
                                  i, counts[i]);
                    return 1;
                }
            if (round % 200 == 0)
                (void)usleep(2000); /* longer than members spin: they park */
        }
        team_free(t);
    }
    return 0;
}
