#include "engine/local/stepper_impl.h"

#include <assert.h>
#include <errno.h>

#include "base/limits.h"
#include "base/num.h"

/* ---- memory ---- */

static uint32_t max3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t m = a > b ? a : b;
    return m > c ? m : c;
}

static void place_all(struct stepper *s, struct layout *l)
{
    const struct model_shape *m = &s->model->shape;
    uint32_t n = s->options.rows, q = m->heads * m->head_size, kv = m->kv_heads * m->head_size;
    layout_rows(l, &s->residual, n, m->embed);
    layout_rows(l, &s->normed, n, m->embed);
    layout_rows(l, &s->q, n, (size_t)q + (size_t)2 * kv);
    layout_view(l, &s->k, n, &s->q, q);
    layout_view(l, &s->v, n, &s->q, (size_t)q + kv);
    layout_rows(l, &s->attended, n, q);
    layout_rows(l, &s->gate, n, 2 * (size_t)m->ff);
    layout_view(l, &s->up, n, &s->gate, m->ff);
    layout_rows(l, &s->projected, n, m->embed);
    layout_rows(l, &s->rounded, n, max3(m->embed, m->ff, q));
    layout_quants(l, &s->quantised, n, max3(m->embed, m->ff, q));
    for (int i = 0; i < SHARED_INPUTS; i++)
        layout_rows(l, &s->low[i], n, LIMIT_LORA_RANK);
    layout_rows(l, &s->logits, n, 0);
    s->logits.stride = s->options.states ? m->embed : m->vocab; /* read as one array */
    s->logits.data = layout_place(l, n * s->logits.stride, sizeof(float));
    for (uint32_t i = 0; s->logits.data && i < n; i++)
        s->logits.at[i] = s->logits.data + i * s->logits.stride;
    s->angles = layout_place(l, (size_t)n * ROPES * m->rope_dims, sizeof(float));
    s->score_floats = ((size_t)s->options.context + 15) & ~(size_t)15;
    s->member_floats =
        KERNEL_SCRATCH(max3(m->embed, m->ff, q)) + m->heads / m->kv_heads * s->score_floats;
    s->member_scratch = layout_place(l, team_size(s->team) * s->member_floats, sizeof(float));
    s->entries = layout_place(l, n, sizeof(*s->entries));
    s->groups = layout_place(l, n, sizeof(*s->groups));
    s->group_of = layout_place(l, n, sizeof(*s->group_of));
    s->wanted = layout_place(l, n, sizeof(*s->wanted));
    s->wanted_rows = layout_place(l, n, sizeof(*s->wanted_rows));
}

static void place_stepper(void *stepper, struct layout *l)
{
    place_all(stepper, l);
}

static int allocate(struct stepper *s)
{
    int r = layout_allocate(&s->block, &s->block_bytes, place_stepper, s);
    return r < 0 ? r : cache_init(&s->cache, s->model, &s->options);
}

static int check_options(const struct stepper_options *o, struct fail *reterr)
{
    const struct {
        const char *name;
        uint64_t value, max;
    } limits[] = {
        { "slots", o->slots, LIMIT_SLOTS },
        { "context", o->context, LIMIT_CONTEXT },
        { "rows", o->rows, LIMIT_BATCH_ROWS },
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        if (limits[i].value < 1 || limits[i].value > limits[i].max)
            return fail_param(reterr, FAIL_invalid_request, limits[i].name,
                              "%s is %llu; it must be 1 to %llu", limits[i].name,
                              (unsigned long long)limits[i].value,
                              (unsigned long long)limits[i].max);
    return 0;
}

int stepper_new(struct stepper **ret, const struct model *m, const struct stepper_options *o,
                struct fail *reterr)
{
    int r = check_options(o, reterr);
    if (r)
        return r;
    CLEANUP(stepper_freep) struct stepper *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->model = m;
    s->options = *o;
    for (uint32_t k = 0; k < ROPES; k++)
        s->ropes[k] = rope_of(m, k, o->context);
    r = team_new(&s->team, o->threads);
    if (!r)
        r = allocate(s);
    if (r)
        return r;
    *ret = TAKE(s);
    return 0;
}

struct stepper *stepper_free(struct stepper *s)
{
    if (!s)
        return NULL;
    team_free(s->team);
    cache_done(&s->cache);
    layout_free(s->block, s->block_bytes);
    free(s);
    return NULL;
}

/* ---- rows ---- */

static bool row_fits(const struct stepper *s, const struct step_row *r)
{
    return r->token >= 0 && (uint32_t)r->token < s->model->shape.vocab &&
           r->slot < s->options.slots && r->position < s->options.context &&
           (!r->lora || r->lora->layers == s->model->shape.layers);
}

static uint32_t group_for(struct stepper *s, const struct step_row *r)
{
    float scale = r->lora && r->scale != 0 ? r->scale : 1;
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (s->groups[g].lora == r->lora && s->groups[g].scale == scale)
            return g;
    s->groups[s->n_groups] = (struct step_group){ .lora = r->lora, .scale = scale };
    return s->n_groups++;
}

/* Counting sort by adapter; the order within a group is the caller's. */
static void sort_rows(struct stepper *s, const struct step_row *rows)
{
    s->n_groups = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        s->group_of[i] = group_for(s, &rows[i]);
        s->groups[s->group_of[i]].n++;
    }
    for (uint32_t g = 1; g < s->n_groups; g++)
        s->groups[g].first = s->groups[g - 1].first + s->groups[g - 1].n;
    for (uint32_t g = 0; g < s->n_groups; g++)
        s->groups[g].n = 0;
    s->n_wanted = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        struct step_group *g = &s->groups[s->group_of[i]];
        uint32_t at = g->first + g->n++;
        s->entries[at] = (struct step_entry){ rows[i].token, rows[i].position, rows[i].slot };
        if (rows[i].logits)
            s->wanted[s->n_wanted++] = at;
    }
}

int stepper_run(struct stepper *s, const struct step_row *rows, size_t n, const float **ret_logits)
{
    if (n < 1 || n > s->options.rows)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!row_fits(s, &rows[i]))
            return -EINVAL;
    s->n = (uint32_t)n;
    sort_rows(s, rows);
    forward(s);
    *ret_logits = s->logits.data;
    return 0;
}

void stepper_copy_slot(struct stepper *s, uint32_t from, uint32_t to, uint32_t n)
{
    assert(from < s->options.slots && to < s->options.slots && n <= s->options.context);
    if (from != to)
        cache_copy(&s->cache, from, to, n);
}
