/*
 * The graph of the llama family: norm, attention, norm, gated feed-forward; arch.h says what the
 * members of the family vary.
 *
 * Every sum runs in an order that depends on the model and a row's position only, so neither the
 * other rows of a step nor the number of threads changes a bit of a row's result.
 */
#include "engine/local/stepper_impl.h"

#include <assert.h>
#include <math.h>

static void run_parts(struct stepper *s, team_part *run, void *arg, uint32_t n, uint64_t work)
{
    team_run_work(s->team, run, arg, n, work);
}

static float *scratch_of(const struct stepper *s, uint32_t member)
{
    return s->member_scratch + member * s->member_floats;
}

/* ---- linears ---- */

enum finish { FINISH_none, FINISH_gated, FINISH_residual };

struct linear_job { /* linears that read the same rows */
    struct stepper *s;
    uint32_t layer, n_linears;
    enum lora_target targets[SHARED_INPUTS];
    const struct rows *x, *y[SHARED_INPUTS];
    enum finish finish;
    uint32_t chunk;                   /* outputs of a part */
    uint32_t part_end[SHARED_INPUTS]; /* parts up to and with this linear */
};

/* What a kernel reads: the rows x, or the copy of them in its form. */
static const void *const *input_of(const struct stepper *s, const struct rows *x,
                                   enum kernel_input form)
{
    if (form == INPUT_i16)
        return (const void *const *)s->quantised;
    return (const void *const *)(form == INPUT_f16 ? s->rounded.at : x->at);
}

static void shrink_part(void *arg, uint32_t part, uint32_t member)
{
    const struct linear_job *j = arg;
    struct stepper *s = j->s;
    const struct step_group *g = &s->groups[part / j->n_linears];
    uint32_t i = part % j->n_linears;
    if (!g->lora)
        return;
    const struct lora_pair *p = lora_pair(g->lora, j->layer, j->targets[i]);
    if (!p->rank)
        return;
    uint32_t in = model_linear(s->model, j->layer, j->targets[i])->w.in;
    struct matmul m = { .w = p->a,
                        .w_stride = p->a_stride,
                        .k = in,
                        .x = input_of(s, j->x, p->f16 ? INPUT_f16 : INPUT_f32) + g->first,
                        .y = s->low[i].at + g->first,
                        .n = g->n,
                        .scratch = scratch_of(s, member) };
    p->a_kernel->dot(&m, 0, p->rank);
    float scale = p->scale * g->scale;
    for (uint32_t r = 0; r < g->n; r++) {
        if (p->f16)
            s->model->kernels->round_f16(m.y[r], m.y[r], p->rank);
        for (uint32_t k = 0; scale != 1 && k < p->rank; k++)
            m.y[r][k] *= scale;
    }
}

/* A x for every row with an adapter. */
static void shrink(struct linear_job *j)
{
    struct stepper *s = j->s;
    uint64_t work = 0;
    for (uint32_t g = 0; g < s->n_groups; g++)
        for (uint32_t i = 0; s->groups[g].lora && i < j->n_linears; i++)
            work += (uint64_t)lora_pair(s->groups[g].lora, j->layer, j->targets[i])->rank *
                    model_linear(s->model, j->layer, j->targets[i])->w.in * s->groups[g].n;
    if (work)
        run_parts(s, shrink_part, j, s->n_groups * j->n_linears, work);
}

/* y += B t for outputs from `o` on: at most MIX_WIDTH, within one block where o is within one. */
static void expand_turned(const struct lora_pair *p, float *y, const float *t, uint32_t o,
                          uint32_t width)
{
    const struct tensor_layout *block = tensor_layout(p->b_kernel->type);
    uint32_t lead = o % block->block;
    struct mix m = { .t = t,
                     .rows =
                         (const uint8_t *)p->b + (size_t)(o / block->block) * block->block_bytes,
                     .row_stride = p->b_stride,
                     .n = p->rank,
                     .width = lead + width };
    if (!lead) {
        p->b_kernel->mix(y, &m);
        return;
    }
    float sums[MIX_WIDTH] = { 0 }; /* the halves of a fused linear meet within a block */
    p->b_kernel->mix(sums, &m);
    for (uint32_t k = 0; k < width; k++)
        y[k] += sums[lead + k];
}

static void expand_rows(const struct lora_pair *p, float *y, const float *t, uint32_t o,
                        uint32_t width, float *scratch)
{
    float sums[MIX_WIDTH], *to = sums;
    const void *x = t;
    struct matmul m = { .w = (const uint8_t *)p->b + o * p->b_stride,
                        .w_stride = p->b_stride,
                        .k = p->rank,
                        .x = &x,
                        .y = &to,
                        .n = 1 };
    m.scratch = scratch;
    p->b_kernel->dot(&m, 0, width);
    for (uint32_t k = 0; k < width; k++)
        y[k] += sums[k];
}

struct linear_part { /* of the outputs of a linear, and who computes it */
    uint32_t begin, end, member;
};

/* y += B (A x) for the rows of a group. */
static void expand(const struct linear_job *j, uint32_t i, const struct step_group *g,
                   const struct lora_pair *p, struct linear_part part)
{
    float *scratch = scratch_of(j->s, part.member);
    uint32_t block = tensor_layout(p->b_kernel->type)->block, width;
    for (uint32_t o = part.begin; o < part.end; o += width) {
        width = o % block ? block - o % block : MIX_WIDTH;
        width = part.end - o < width ? part.end - o : width;
        for (uint32_t r = g->first; r < g->first + g->n; r++) {
            if (p->rows)
                expand_rows(p, j->y[i]->at[r] + o, j->s->low[i].at[r], o, width, scratch);
            else
                expand_turned(p, j->y[i]->at[r] + o, j->s->low[i].at[r], o, width);
        }
    }
}

static void add_bias(float *y, const float *bias, uint32_t begin, uint32_t end)
{
    for (uint32_t o = begin; o < end; o++)
        y[o] += bias[o];
}

/* What the adapter and the bias do to the products of a group's rows. */
static void finish_group(const struct linear_job *j, uint32_t i, const struct step_group *g,
                         struct linear_part part)
{
    const struct lora_pair *p = g->lora ? lora_pair(g->lora, j->layer, j->targets[i]) : NULL;
    const float *bias = model_linear(j->s->model, j->layer, j->targets[i])->bias;
    if (p && p->bias)
        bias = p->bias;
    if (p && p->gain) { /* of W x and of B A x, not of the bias */
        expand(j, i, g, p, part);
        for (uint32_t r = g->first; r < g->first + g->n; r++)
            for (uint32_t o = part.begin; o < part.end; o++)
                j->y[i]->at[r][o] *= p->gain[o];
    }
    for (uint32_t r = g->first; bias && r < g->first + g->n; r++)
        add_bias(j->y[i]->at[r], bias, part.begin, part.end);
    if (p && p->rank && !p->gain)
        expand(j, i, g, p, part);
}

static void one_linear(const struct linear_job *j, uint32_t i, uint32_t begin, uint32_t end,
                       uint32_t member)
{
    struct stepper *s = j->s;
    const struct linear *l = model_linear(s->model, j->layer, j->targets[i]);
    struct matmul m = { .w = l->w.data,
                        .w_stride = l->w.row_bytes,
                        .k = l->w.in,
                        .x = input_of(s, j->x, l->w.kernel->input),
                        .y = j->y[i]->at,
                        .n = s->n,
                        .scratch = scratch_of(s, member) };
    l->w.kernel->matmul(&m, begin, end);
    for (uint32_t g = 0; g < s->n_groups; g++)
        finish_group(j, i, &s->groups[g], (struct linear_part){ begin, end, member });
}

static void activate_silu(float *gate, const float *up, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void activate_gelu_tanh(float *gate, const float *up, uint32_t n)
{
    const float root = 0.79788456f; /* √(2/π) */
    for (uint32_t i = 0; i < n; i++) {
        float x = gate[i];
        gate[i] = 0.5f * x * (1.0f + tanhf(root * (x + 0.044715f * x * x * x))) * up[i];
    }
}

static void (*const activations[])(float *gate, const float *up, uint32_t n) = {
    [ACT_silu] = activate_silu,
    [ACT_gelu_tanh] = activate_gelu_tanh,
};

/* Outputs of a linear that are cut into parts: gate and up are one part, the activation needs both.
 */
static uint32_t outputs_of(const struct linear_job *j, uint32_t i)
{
    return j->finish == FINISH_gated ? j->s->model->shape.ff
                                     : model_linear(j->s->model, j->layer, j->targets[i])->w.out;
}

static void linear_part(void *arg, uint32_t part, uint32_t member)
{
    const struct linear_job *j = arg;
    const struct stepper *s = j->s;
    uint32_t i = 0, first = 0;
    while (part >= j->part_end[i])
        first = j->part_end[i++];
    uint32_t out = outputs_of(j, i), begin = (part - first) * j->chunk;
    uint32_t end = out - begin < j->chunk ? out : begin + j->chunk;
    one_linear(j, i, begin, end, member);
    if (j->finish == FINISH_gated) {
        if (j->n_linears == 2)
            one_linear(j, 1, begin, end, member);
        else
            one_linear(j, 0, out + begin, out + end, member); /* up follows gate in a fused one */
        for (uint32_t r = 0; r < s->n; r++)
            activations[s->model->arch->activation](s->gate.at[r] + begin, s->up.at[r] + begin,
                                                    end - begin);
    }
    if (j->finish == FINISH_residual)
        for (uint32_t r = 0; r < s->n; r++)
            for (uint32_t o = begin; o < end; o++)
                s->residual.at[r][o] += j->y[0]->at[r][o];
}

struct form_job {
    struct stepper *s;
    const struct rows *x;
    uint32_t width;
    bool f16, i16; /* forms that are wanted */
};

static void form_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct form_job *j = arg;
    const struct kernel_set *set = j->s->model->kernels;
    if (j->f16)
        set->round_f16(j->s->rounded.at[row], j->x->at[row], j->width);
    if (j->i16)
        set->quantise(j->s->quantised[row], j->x->at[row], j->width);
}

static void want_form(struct form_job *j, enum kernel_input form)
{
    j->f16 |= form == INPUT_f16;
    j->i16 |= form == INPUT_i16;
}

static void make_forms(struct form_job *j)
{
    if (j->f16 || j->i16)
        run_parts(j->s, form_part, j, j->s->n, (uint64_t)j->s->n * j->width * 2);
}

/* Brings the input into each form that a linear or an adapter reads. */
static void prepare(const struct linear_job *j)
{
    const struct stepper *s = j->s;
    struct form_job form = { .s = j->s,
                             .x = j->x,
                             .width = model_linear(s->model, j->layer, j->targets[0])->w.in };
    for (uint32_t i = 0; i < j->n_linears; i++) {
        want_form(&form, model_linear(s->model, j->layer, j->targets[i])->w.kernel->input);
        for (uint32_t g = 0; g < s->n_groups; g++)
            if (s->groups[g].lora && lora_pair(s->groups[g].lora, j->layer, j->targets[i])->f16)
                want_form(&form, INPUT_f16);
    }
    make_forms(&form);
}

static void linears(struct linear_job *j)
{
    struct stepper *s = j->s;
    prepare(j);
    shrink(j);
    uint64_t work = 0, outputs = 0;
    for (uint32_t i = 0; i < j->n_linears; i++) {
        const struct weight *w = &model_linear(s->model, j->layer, j->targets[i])->w;
        work += (uint64_t)w->in * w->out * s->n;
        outputs += w->out;
    }
    uint32_t cut = j->finish == FINISH_gated ? 1 : j->n_linears, parts = 0;
    j->chunk = team_chunk(s->team, j->finish == FINISH_gated ? outputs / 2 : outputs, work);
    for (uint32_t i = 0; i < cut; i++) {
        parts += (outputs_of(j, i) + j->chunk - 1) / j->chunk;
        j->part_end[i] = parts;
    }
    run_parts(s, linear_part, j, parts, work);
}

/* ---- norms, rotation, attention ---- */

/* y may be x. */
static void rms_norm(const struct stepper *s, float *y, const float *x, const float *weight,
                     uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)(x[i] * x[i]);
    float scale = 1.0f / sqrtf((float)(sum / n) + s->model->shape.rms_eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

struct norm_job {
    const struct stepper *s;
    const float *weight;
};

static void norm_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct norm_job *j = arg;
    rms_norm(j->s, j->s->normed.at[row], j->s->residual.at[row], j->weight,
             j->s->model->shape.embed);
}

static void norm(struct stepper *s, const float *weight)
{
    struct norm_job j = { s, weight };
    run_parts(s, norm_part, &j, s->n, (uint64_t)s->n * s->model->shape.embed * 2);
}

static void post_norm_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct norm_job *j = arg;
    uint32_t n = j->s->model->shape.embed;
    float *x = j->s->projected.at[row];
    rms_norm(j->s, x, x, j->weight, n);
    for (uint32_t i = 0; i < n; i++)
        j->s->residual.at[row][i] += x[i];
}

static void post_norm(struct stepper *s, const float *weight)
{
    struct norm_job j = { s, weight };
    run_parts(s, post_norm_part, &j, s->n, (uint64_t)s->n * s->model->shape.embed * 3);
}

/* Cosine and sine of every pair of every row; the same for all layers of one kind. */
static void angles_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct stepper *s = arg;
    uint32_t dims = s->model->shape.rope_dims;
    for (uint32_t k = 0; k < ROPES && s->ropes[k]->steps; k++) {
        const struct rope *rope = s->ropes[k];
        float *to = s->angles + ((size_t)row * ROPES + k) * dims;
        for (size_t i = 0; i < dims / 2; i++) {
            double angle = s->entries[row].position * rope->steps[i];
            to[2 * i] = rope->magnitude * (float)cos(angle);
            to[2 * i + 1] = rope->magnitude * (float)sin(angle);
        }
    }
}

static const float *angles_of(const struct stepper *s, uint32_t layer, uint32_t row)
{
    uint32_t k = s->model->layers[layer].local && s->ropes[1]->steps;
    return s->angles + ((size_t)row * ROPES + k) * s->model->shape.rope_dims;
}

static void norm_heads(const struct stepper *s, float *x, uint32_t heads, const float *weight)
{
    uint32_t n = s->model->shape.head_size;
    for (uint32_t h = 0; weight && h < heads; h++, x += n)
        rms_norm(s, x, x, weight, n);
}

static void rotate(const struct model_shape *m, float *x, uint32_t heads, const float *angles)
{
    uint32_t half = m->rope_dims / 2;
    for (uint32_t h = 0; h < heads; h++, x += m->head_size)
        for (size_t i = 0; i < half; i++) {
            float *a = m->rope_neox ? x + i : x + 2 * i, *b = m->rope_neox ? a + half : a + 1;
            float c = angles[2 * i], s = angles[2 * i + 1], x0 = *a, x1 = *b;
            *a = x0 * c - x1 * s;
            *b = x0 * s + x1 * c;
        }
}

struct attention_job {
    struct stepper *s;
    uint32_t layer;
};

static void store_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct attention_job *j = arg;
    struct stepper *s = j->s;
    const struct model_shape *m = &s->model->shape;
    const struct step_entry *e = &s->entries[row];
    const float *angles = angles_of(s, j->layer, row);
    const struct layer *y = &s->model->layers[j->layer];
    norm_heads(s, s->q.at[row], m->heads, y->norms[NORM_q]);
    norm_heads(s, s->k.at[row], m->kv_heads, y->norms[NORM_k]);
    rotate(m, s->q.at[row], m->heads, angles);
    rotate(m, s->k.at[row], m->kv_heads, angles);
    cache_put(&s->cache, j->layer, e->slot, e->position, s->k.at[row], s->v.at[row]);
}

static void soft_cap(float *x, uint32_t n, float cap)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

/* Scores to shares; cap 0: none. */
static void softmax(float *x, uint32_t n, float scale, float cap)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] *= scale;
    if (cap > 0)
        soft_cap(x, n, cap);
    float most = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - most);
        sum += (double)x[i];
    }
    float inverse = (float)(1.0 / sum);
    for (uint32_t i = 0; i < n; i++)
        x[i] *= inverse;
}

/* The first position that a row at `position` sees. */
static uint32_t sees_from(const struct model *m, uint32_t layer, uint32_t position)
{
    return m->layers[layer].local && position >= m->window ? position - m->window + 1 : 0;
}

/* One row and one key-value head with the query heads that share it. */
static void attend_part(void *arg, uint32_t part, uint32_t member)
{
    const struct attention_job *j = arg;
    struct stepper *s = j->s;
    const struct model_shape *m = &s->model->shape;
    const struct cache *c = &s->cache;
    uint32_t row = part / m->kv_heads, head = part % m->kv_heads, share = m->heads / m->kv_heads;
    const struct step_entry *e = &s->entries[row];
    uint32_t from = sees_from(s->model, j->layer, e->position), n = e->position + 1 - from;
    float *scratch = scratch_of(s, member);
    float *scores = scratch + s->member_floats - share * s->score_floats;
    size_t at = cache_offset(c, j->layer, e->slot, head, from);
    for (uint32_t first = 0; first < share; first += 8) {
        const void *q[8];
        float *y[8];
        uint32_t some = share - first < 8 ? share - first : 8;
        for (uint32_t g = 0; g < some; g++) {
            q[g] = s->q.at[row] + (size_t)(head * share + first + g) * m->head_size;
            y[g] = scores + (first + g) * s->score_floats;
        }
        struct matmul keys = { c->keys + at, c->row_bytes, m->head_size, q, y, some, scratch };
        c->kernel->dot(&keys, 0, n);
    }
    for (uint32_t g = 0; g < share; g++) {
        float *p = scores + g * s->score_floats;
        float *to = s->attended.at[row] + (size_t)(head * share + g) * m->head_size;
        softmax(p, n, s->model->query_scale, s->model->score_cap);
        memset(to, 0, m->head_size * sizeof(float));
        struct mix values = { p, c->values + at, c->row_bytes, n, m->head_size };
        c->kernel->mix(to, &values);
    }
}

static void attention(struct stepper *s, uint32_t layer)
{
    const struct model_shape *m = &s->model->shape;
    struct attention_job j = { s, layer };
    uint64_t width = (uint64_t)m->heads * m->head_size, work = 0;
    run_parts(s, store_part, &j, s->n, s->n * width * 4);
    for (uint32_t i = 0; i < s->n; i++)
        work += 2 * width *
                (s->entries[i].position + 1 - sees_from(s->model, layer, s->entries[i].position));
    run_parts(s, attend_part, &j, s->n * m->kv_heads, work);
}

/* ---- the step ---- */

static void attention_block(struct stepper *s, uint32_t i)
{
    const struct layer *y = &s->model->layers[i];
    const float *post = y->norms[NORM_post_attn];
    norm(s, y->norms[NORM_attn]);
    struct linear_job qkv = { .s = s,
                              .layer = i,
                              .n_linears = 3,
                              .targets = { LORA_q, LORA_k, LORA_v },
                              .x = &s->normed,
                              .y = { &s->q, &s->k, &s->v } };
    if (s->model->arch->fused) {
        qkv.n_linears = 1;
        qkv.targets[0] = LORA_qkv;
    }
    linears(&qkv);
    attention(s, i);
    struct linear_job o = { .s = s,
                            .layer = i,
                            .n_linears = 1,
                            .targets = { LORA_o },
                            .x = &s->attended,
                            .y = { &s->projected },
                            .finish = post ? FINISH_none : FINISH_residual };
    linears(&o);
    if (post)
        post_norm(s, post);
}

static void feed_forward_block(struct stepper *s, uint32_t i)
{
    const struct layer *y = &s->model->layers[i];
    const float *post = y->norms[NORM_post_ffn];
    norm(s, y->norms[NORM_ffn]);
    struct linear_job gate_up = { .s = s,
                                  .layer = i,
                                  .n_linears = 2,
                                  .targets = { LORA_gate, LORA_up },
                                  .x = &s->normed,
                                  .y = { &s->gate, &s->up },
                                  .finish = FINISH_gated };
    if (s->model->arch->fused) {
        gate_up.n_linears = 1;
        gate_up.targets[0] = LORA_gate_up;
    }
    linears(&gate_up);
    struct linear_job down = { .s = s,
                               .layer = i,
                               .n_linears = 1,
                               .targets = { LORA_down },
                               .x = &s->gate,
                               .y = { &s->projected },
                               .finish = post ? FINISH_none : FINISH_residual };
    linears(&down);
    if (post)
        post_norm(s, post);
}

static void embed_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct stepper *s = arg;
    const struct weight *w = &s->model->embedding;
    const uint8_t *from = (const uint8_t *)w->data + (size_t)s->entries[row].token * w->row_bytes;
    w->kernel->unpack(s->residual.at[row], from, w->in);
    for (uint32_t i = 0; s->model->arch->scaled_embedding && i < w->in; i++)
        s->residual.at[row][i] *= s->model->embedding_scale;
}

struct output_job {
    const struct stepper *s;
    uint32_t chunk;
};

static void output_part(void *arg, uint32_t part, uint32_t member)
{
    const struct output_job *j = arg;
    const struct stepper *s = j->s;
    const struct weight *w = &s->model->output;
    uint32_t begin = part * j->chunk, end = w->out - begin < j->chunk ? w->out : begin + j->chunk;
    struct matmul m = { w->data,     w->row_bytes,         w->in, s->wanted_rows, s->logits.at,
                        s->n_wanted, scratch_of(s, member) };
    w->kernel->matmul(&m, begin, end);
    for (uint32_t i = 0; s->model->logit_cap > 0 && i < s->n_wanted; i++)
        soft_cap(s->logits.at[i] + begin, end - begin, s->model->logit_cap);
}

void forward(struct stepper *s)
{
    const struct model *m = s->model;
    run_parts(s, embed_part, s, s->n, (uint64_t)s->n * m->shape.embed);
    run_parts(s, angles_part, s, s->n, (uint64_t)s->n * m->shape.rope_dims * 8 * ROPES);
    for (uint32_t i = 0; i < m->shape.layers; i++) {
        attention_block(s, i);
        feed_forward_block(s, i);
    }
    if (!s->n_wanted)
        return;
    norm(s, m->output_norm);
    for (uint32_t i = 0; s->options.states && i < s->n_wanted; i++)
        memcpy(s->logits.at[i], s->normed.at[s->wanted[i]], m->shape.embed * sizeof(float));
    if (s->options.states)
        return;
    struct form_job form = { .s = s, .x = &s->normed, .width = m->shape.embed };
    want_form(&form, m->output.kernel->input);
    make_forms(&form);
    for (uint32_t i = 0; i < s->n_wanted; i++)
        s->wanted_rows[i] = input_of(s, &s->normed, m->output.kernel->input)[s->wanted[i]];
    uint64_t work = (uint64_t)m->output.in * m->output.out * s->n_wanted;
    struct output_job j = { s, team_chunk(s->team, m->output.out, work) };
    run_parts(s, output_part, &j, (m->output.out + j.chunk - 1) / j.chunk, work);
}
