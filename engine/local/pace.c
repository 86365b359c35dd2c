#include "engine/local/pace.h"

static const double keep = 0.98; /* of the past, each step */

void pace_note(struct pace *p, uint32_t rows, uint64_t us)
{
    double n = rows, t = (double)us;
    p->weight = keep * p->weight + 1;
    p->rows = keep * p->rows + n;
    p->us = keep * p->us + t;
    p->rows_rows = keep * p->rows_rows + n * n;
    p->rows_us = keep * p->rows_us + n * t;
    double spread = p->weight * p->rows_rows - p->rows * p->rows;
    if (spread < 0.5 * p->weight * p->weight) /* all alike: nothing to be learnt of the slope */
        return;
    double slope = (p->weight * p->rows_us - p->rows * p->us) / spread;
    double fixed = (p->us - slope * p->rows) / p->weight;
    if (slope <= 0)
        return;
    p->row_us = slope;
    p->fixed_us = fixed > 0 ? fixed : 0;
}

static uint32_t whole(double rows)
{
    return rows < (double)UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
}

uint32_t pace_extra(const struct pace *p, uint32_t rows, double share)
{
    if (p->row_us <= 0)
        return whole(share * rows);
    return whole(share * (p->fixed_us + p->row_us * rows) / p->row_us);
}

uint32_t pace_rows(const struct pace *p, uint64_t us)
{
    if (p->row_us <= 0)
        return UINT32_MAX;
    double most = (double)us > p->fixed_us ? (double)us : p->fixed_us;
    return whole(most / p->row_us);
}
