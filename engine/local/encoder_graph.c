/*
 * The graph of the BERT family: attention to both sides, feed-forward, norms before or behind them;
 * encoder_impl.h says what the members of the family vary.
 *
 * Every sum runs in an order that depends on the model and on the sequence only, so neither the
 * other sequences of a step nor the number of threads changes a bit of a result.
 */
#include "engine/local/encoder_impl.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/local/layout.h"
#include "engine/local/team.h"

enum { TILE = 16 }; /* queries of a part: they share the keys in cache */

struct tile {
    uint32_t first, n;   /* rows of the queries */
    uint32_t begin, end; /* rows of the sequence */
};

struct encoder_runner {
    const struct encoder *encoder;
    struct team *team;
    uint32_t rows; /* of a step, at most */
    uint8_t *block;
    size_t block_bytes;
    struct rows state, normed, q, k, v, attended, up, gate, projected, scores;
    struct rows rounded;       /* a copy of a linear's input, rounded to F16 */
    struct quants **quantised; /* and one in integers; row by row */
    float *angles;             /* rows × ROPES × head_size: cosine and sine of each pair */
    float *member_scratch;
    size_t member_floats, score_floats; /* the latter: of one query */
    struct tile *tiles;
    int32_t *ids; /* of each row, like the next */
    uint32_t *positions;
    const float **wanted; /* rows that a head reads */
    uint32_t n, n_tiles;  /* of the running step */
};

static float *scratch_of(const struct encoder_runner *r, uint32_t member)
{
    return r->member_scratch + member * r->member_floats;
}

/* ---- linears ---- */

struct dense_job { /* y = w x + bias */
    const struct encoder_runner *r;
    const struct linear *linear;
    const void *const *x; /* as the kernel reads them */
    float *const *y;
    uint32_t n, chunk;
};

static void dense_part(void *arg, uint32_t part, uint32_t member)
{
    const struct dense_job *j = arg;
    const struct linear *l = j->linear;
    uint32_t begin = part * j->chunk;
    uint32_t end = l->w.out - begin < j->chunk ? l->w.out : begin + j->chunk;
    struct matmul m = { .w = l->w.data,
                        .w_stride = l->w.row_bytes,
                        .k = l->w.in,
                        .x = j->x,
                        .y = j->y,
                        .n = j->n,
                        .scratch = scratch_of(j->r, member) };
    l->w.kernel->matmul(&m, begin, end);
    for (uint32_t i = 0; l->bias && i < j->n; i++)
        for (uint32_t o = begin; o < end; o++)
            m.y[i][o] += l->bias[o];
}

static void form_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct dense_job *j = arg;
    const struct kernel_set *set = j->r->encoder->kernels;
    if (j->linear->w.kernel->input == INPUT_i16)
        set->quantise(j->r->quantised[row], j->x[row], j->linear->w.in);
    else
        set->round_f16(j->r->rounded.at[row], j->x[row], j->linear->w.in);
}

static void dense(struct encoder_runner *r, const struct linear *l, const float *const *x,
                  const struct rows *y, uint32_t n)
{
    uint64_t work = (uint64_t)l->w.in * l->w.out * n;
    struct dense_job j = { r,     l, (const void *const *)x,
                           y->at, n, team_chunk(r->team, l->w.out, work) };
    if (l->w.kernel->input != INPUT_f32)
        team_run_work(r->team, form_part, &j, n, (uint64_t)n * l->w.in * 2);
    if (l->w.kernel->input == INPUT_f16)
        j.x = (const void *const *)r->rounded.at;
    else if (l->w.kernel->input == INPUT_i16)
        j.x = (const void *const *)r->quantised;
    team_run_work(r->team, dense_part, &j, (l->w.out + j.chunk - 1) / j.chunk, work);
}

static const float *const *rows_of(const struct rows *x)
{
    return (const float *const *)x->at;
}

/* ---- rows: norms, activations ---- */

struct row_job {
    struct encoder_runner *r;
    const struct layer_norm_weights *norm;
    const struct rows *x, *y, *added;
    enum encoder_activation activation;
    uint32_t width;
};

static void layer_norm(const struct encoder *e, float *y, const float *x,
                       const struct layer_norm_weights *w)
{
    uint32_t n = e->shape.embed;
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i];
    float mean = (float)(sum / n);
    for (uint32_t i = 0; i < n; i++)
        squares += (double)(x[i] - mean) * (double)(x[i] - mean);
    float scale = 1.0f / sqrtf((float)(squares / n) + e->eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale * w->weight[i] + (w->bias ? w->bias[i] : 0);
}

static void norm_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct row_job *j = arg;
    const struct encoder *e = j->r->encoder;
    layer_norm(e, j->y->at[row], j->x->at[row], j->norm);
}

static void norm(struct encoder_runner *r, const struct rows *y, const struct rows *x,
                 const struct layer_norm_weights *w, uint32_t n)
{
    struct row_job j = { .r = r, .norm = w, .x = x, .y = y };
    team_run_work(r->team, norm_part, &j, n, (uint64_t)n * r->encoder->shape.embed * 4);
}

static void add_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct row_job *j = arg;
    float *y = j->y->at[row];
    const float *x = j->added->at[row];
    for (uint32_t i = 0; i < j->width; i++)
        y[i] += x[i];
    if (j->norm)
        layer_norm(j->r->encoder, y, y, j->norm);
}

/* state += added; then its norm, where there is one behind. */
static void add_to_state(struct encoder_runner *r, const struct rows *added,
                         const struct layer_norm_weights *w)
{
    struct row_job j = {
        .r = r, .norm = w, .y = &r->state, .added = added, .width = r->encoder->shape.embed
    };
    team_run_work(r->team, add_part, &j, r->n, (uint64_t)r->n * j.width * 4);
}

static float activate(enum encoder_activation a, float x)
{
    const float inverse_root_2 = 0.70710678f;
    switch (a) {
    case ENCODER_gelu:
        return 0.5f * x * (1.0f + erff(x * inverse_root_2));
    case ENCODER_silu:
        return x / (1.0f + expf(-x));
    case ENCODER_tanh:
        return tanhf(x);
    default:
        return x > 0 ? x : 0;
    }
}

/* up = act(gate) · up, or act(up). */
static void activate_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct row_job *j = arg;
    float *up = j->y->at[row];
    const float *gate = j->x ? j->x->at[row] : NULL;
    for (uint32_t i = 0; i < j->width; i++)
        up[i] = gate ? activate(j->activation, gate[i]) * up[i] : activate(j->activation, up[i]);
}

static void activate_rows(struct encoder_runner *r, const struct rows *up, const struct rows *gate,
                          enum encoder_activation a, uint32_t width, uint32_t n)
{
    struct row_job j = { .r = r, .x = gate, .y = up, .activation = a, .width = width };
    team_run_work(r->team, activate_part, &j, n, (uint64_t)n * width * 16);
}

/* ---- attention ---- */

static void angles_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct encoder_runner *r = arg;
    uint32_t dims = r->encoder->shape.head_size;
    for (uint32_t k = 0; k < ROPES && r->encoder->ropes[k]; k++) {
        float *to = r->angles + ((size_t)row * ROPES + k) * dims;
        for (size_t i = 0; i < dims / 2; i++) {
            double angle = r->positions[row] * r->encoder->ropes[k][i];
            to[2 * i] = (float)cos(angle);
            to[2 * i + 1] = (float)sin(angle);
        }
    }
}

struct attention_job {
    struct encoder_runner *r;
    const struct encoder_layer *layer;
};

static void rotate(const struct encoder_shape *m, float *x, const float *angles)
{
    uint32_t half = m->head_size / 2;
    for (uint32_t h = 0; h < m->heads; h++, x += m->head_size)
        for (size_t i = 0; i < half; i++) {
            float c = angles[2 * i], s = angles[2 * i + 1], a = x[i], b = x[i + half];
            x[i] = a * c - b * s;
            x[i + half] = a * s + b * c;
        }
}

static void rotate_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct attention_job *j = arg;
    const struct encoder *e = j->r->encoder;
    uint32_t k = j->layer->local && e->ropes[1];
    const float *angles = j->r->angles + ((size_t)row * ROPES + k) * e->shape.head_size;
    rotate(&e->shape, j->r->q.at[row], angles);
    rotate(&e->shape, j->r->k.at[row], angles);
}

static void softmax(float *x, uint32_t n, float scale)
{
    float most = -INFINITY;
    for (uint32_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf((x[i] - most) * scale);
        sum += (double)x[i];
    }
    float inverse = (float)(1.0 / sum);
    for (uint32_t i = 0; i < n; i++)
        x[i] *= inverse;
}

/* The keys that the query of a row sees. */
static void sees(const struct attention_job *j, const struct tile *t, uint32_t row,
                 uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t reach = j->r->encoder->reach;
    *ret_begin = t->begin;
    *ret_end = t->end;
    if (!j->layer->local)
        return;
    if (row - t->begin > reach)
        *ret_begin = row - reach;
    if (t->end - row > reach)
        *ret_end = row + reach + 1 < t->end ? row + reach + 1 : t->end;
}

/* Some queries and one head. */
static void attend_part(void *arg, uint32_t part, uint32_t member)
{
    const struct attention_job *j = arg;
    struct encoder_runner *r = j->r;
    const struct encoder_shape *m = &r->encoder->shape;
    const struct kernel *kernel = kernel_for(r->encoder->kernels, TENSOR_F32);
    const struct tile *t = &r->tiles[part / m->heads];
    size_t head = (size_t)(part % m->heads) * m->head_size, stride = r->k.stride * sizeof(float);
    float *scratch = scratch_of(r, member), *scores[TILE];
    const void *queries[TILE];
    uint32_t first, last, begin, end;
    sees(j, t, t->first, &first, &end);
    sees(j, t, t->first + t->n - 1, &begin, &last);
    for (uint32_t i = 0; i < t->n; i++) {
        queries[i] = r->q.at[t->first + i] + head;
        scores[i] = scratch + r->member_floats - (i + 1) * r->score_floats;
    }
    struct matmul keys = {
        r->k.at[first] + head, stride, m->head_size, queries, scores, t->n, scratch
    };
    kernel->dot(&keys, 0, last - first);
    for (uint32_t i = 0; i < t->n; i++) {
        float *to = r->attended.at[t->first + i] + head;
        sees(j, t, t->first + i, &begin, &end);
        float *shares = scores[i] + (begin - first);
        softmax(shares, end - begin, 1.0f / sqrtf((float)m->head_size));
        memset(to, 0, m->head_size * sizeof(float));
        struct mix values = { shares, r->v.at[begin] + head, stride, end - begin, m->head_size };
        kernel->mix(to, &values);
    }
}

static void attention_block(struct encoder_runner *r, const struct encoder_layer *y)
{
    const struct encoder_shape *m = &r->encoder->shape;
    bool pre = r->encoder->arch->pre_norm;
    struct attention_job j = { r, y };
    const struct rows *x = &r->state;
    uint64_t work = 0;
    if (pre && y->attn_norm.weight) {
        norm(r, &r->normed, x, &y->attn_norm, r->n);
        x = &r->normed;
    }
    dense(r, &y->q, rows_of(x), &r->q, r->n); /* k and v lie behind q in its rows */
    if (has_linear(&y->k)) {
        dense(r, &y->k, rows_of(x), &r->k, r->n);
        dense(r, &y->v, rows_of(x), &r->v, r->n);
    }
    if (r->encoder->ropes[0])
        team_run_work(r->team, rotate_part, &j, r->n, (uint64_t)r->n * m->embed * 4);
    for (uint32_t i = 0; i < r->n_tiles; i++)
        work += (uint64_t)r->tiles[i].n * (r->tiles[i].end - r->tiles[i].begin) * m->embed * 2;
    team_run_work(r->team, attend_part, &j, r->n_tiles * m->heads, work);
    dense(r, &y->o, rows_of(&r->attended), &r->projected, r->n);
    add_to_state(r, &r->projected, pre ? NULL : &y->attn_norm);
}

static void feed_forward_block(struct encoder_runner *r, const struct encoder_layer *y)
{
    const struct encoder_arch *a = r->encoder->arch;
    const struct rows *x = &r->state, *up = &r->up, *gate = NULL;
    if (a->pre_norm) {
        norm(r, &r->normed, x, &y->ffn_norm, r->n);
        x = &r->normed;
    }
    switch (a->gate) {
    case GATE_none:
        dense(r, &y->up, rows_of(x), up, r->n);
        break;
    case GATE_separate:
        gate = &r->gate;
        dense(r, &y->up, rows_of(x), up, r->n);
        dense(r, &y->gate, rows_of(x), gate, r->n);
        break;
    case GATE_fused: /* `up` lies behind `gate` in its rows */
        gate = &r->gate;
        dense(r, &y->up, rows_of(x), gate, r->n);
        break;
    }
    activate_rows(r, up, gate, a->activation, r->encoder->shape.ff, r->n);
    dense(r, &y->down, rows_of(up), &r->projected, r->n);
    add_to_state(r, &r->projected, a->pre_norm ? NULL : &y->ffn_norm);
}

/* ---- the step ---- */

static void embed_part(void *arg, uint32_t row, uint32_t member)
{
    (void)member;
    const struct encoder_runner *r = arg;
    const struct encoder *e = r->encoder;
    const struct weight *w = &e->embedding, *p = &e->positions;
    float *x = r->state.at[row], *position = r->normed.at[row];
    w->kernel->unpack(x, (const uint8_t *)w->data + (size_t)r->ids[row] * w->row_bytes, w->in);
    for (uint32_t i = 0; e->type && i < w->in; i++)
        x[i] += e->type[i];
    if (p->data) {
        p->kernel->unpack(position, (const uint8_t *)p->data + r->positions[row] * p->row_bytes,
                          p->in);
        for (uint32_t i = 0; i < p->in; i++)
            x[i] += position[i];
    }
    layer_norm(e, x, x, &e->embed_norm);
}

static void build_rows(struct encoder_runner *r, struct embed_task *const *tasks, size_t n)
{
    r->n = r->n_tiles = 0;
    for (size_t i = 0; i < n; i++) {
        struct embed_task *t = tasks[i];
        uint32_t begin = r->n, end = begin + t->n;
        t->at = begin;
        for (; r->n < end; r->n++) {
            r->ids[r->n] = t->ids[r->n - begin];
            r->positions[r->n] = r->n - begin;
        }
        for (uint32_t first = begin; first < end; first += TILE)
            r->tiles[r->n_tiles++] = (struct tile){
                .first = first,
                .n = end - first < TILE ? end - first : TILE,
                .begin = begin,
                .end = end,
            };
    }
}

static void pool(const struct encoder_runner *r, const struct embed_task *t, enum pooling how,
                 float *to)
{
    uint32_t width = r->encoder->shape.embed;
    uint32_t first = how == POOLING_last ? t->n - 1 : 0;
    uint32_t n = how == POOLING_last || how == POOLING_cls ? 1 : t->n;
    memset(to, 0, width * sizeof(float));
    for (uint32_t row = t->at + first; row < t->at + first + n; row++)
        for (uint32_t i = 0; i < width; i++)
            to[i] += r->state.at[row][i];
    for (uint32_t i = 0; n > 1 && i < width; i++)
        to[i] /= (float)n;
}

/* Scores of the wanted rows, in r->scores. */
static void run_head(struct encoder_runner *r, uint32_t n)
{
    const struct encoder_head *h = &r->encoder->head;
    const float *const *x = r->wanted;
    if (has_linear(&h->dense)) {
        dense(r, &h->dense, x, &r->normed, n);
        activate_rows(r, &r->normed, NULL, h->activation, r->encoder->shape.embed, n);
        if (h->norm.weight)
            norm(r, &r->normed, &r->normed, &h->norm, n);
        x = rows_of(&r->normed);
    }
    dense(r, &h->out, x, &r->scores, n);
}

static void finish_tasks(struct encoder_runner *r, struct embed_task *const *tasks, size_t n)
{
    const struct encoder *e = r->encoder;
    uint32_t wanted = 0, row = 0;
    for (size_t i = 0; i < n; i++) {
        struct embed_task *t = tasks[i];
        t->done = true;
        if (t->output == EMBED_vector) {
            pool(r, t, e->shape.pooling, t->out);
        } else if (t->output == EMBED_scores) {
            pool(r, t, e->head.pooling, r->projected.at[wanted]);
            r->wanted[wanted] = r->projected.at[wanted];
            wanted++;
        } else {
            for (uint32_t k = 0; k < t->n; k++)
                r->wanted[wanted++] = r->state.at[t->at + k];
        }
    }
    if (wanted)
        run_head(r, wanted);
    uint32_t labels = e->head.out.w.out;
    for (size_t i = 0; i < n; i++) {
        struct embed_task *t = tasks[i];
        uint32_t rows = t->output == EMBED_scores ? 1 : t->output == EMBED_tokens ? t->n : 0;
        for (uint32_t k = 0; k < rows; k++)
            memcpy(t->out + (size_t)k * labels, r->scores.at[row++], labels * sizeof(float));
    }
}

static int encoder_step(void *owner, struct embed_task *const *tasks, size_t n)
{
    struct encoder_runner *r = owner;
    const struct encoder *e = r->encoder;
    build_rows(r, tasks, n);
    assert(r->n <= r->rows);
    team_run_work(r->team, embed_part, r, r->n, (uint64_t)r->n * e->shape.embed * 8);
    if (e->ropes[0])
        team_run_work(r->team, angles_part, r, r->n, (uint64_t)r->n * e->shape.head_size * 16);
    for (uint32_t i = 0; i < e->shape.layers; i++) {
        attention_block(r, &e->layers[i]);
        feed_forward_block(r, &e->layers[i]);
    }
    if (e->output_norm.weight)
        norm(r, &r->state, &r->state, &e->output_norm, r->n);
    finish_tasks(r, tasks, n);
    return 0;
}

/* ---- memory ---- */

static void place(void *owner, struct layout *l)
{
    struct encoder_runner *r = owner;
    const struct encoder *e = r->encoder;
    uint32_t n = r->rows, embed = e->shape.embed, ff = e->shape.ff;
    uint32_t widest = ff > embed ? ff : embed;
    layout_rows(l, &r->state, n, embed);
    layout_rows(l, &r->normed, n, embed);
    layout_rows(l, &r->q, n, (size_t)3 * embed);
    layout_view(l, &r->k, n, &r->q, embed);
    layout_view(l, &r->v, n, &r->q, (size_t)2 * embed);
    layout_rows(l, &r->attended, n, embed);
    layout_rows(l, &r->gate, n, (size_t)2 * ff);
    layout_view(l, &r->up, n, &r->gate, ff);
    layout_rows(l, &r->projected, n, embed);
    layout_rows(l, &r->rounded, n, widest);
    layout_quants(l, &r->quantised, n, widest);
    layout_rows(l, &r->scores, n, e->head.out.w.out);
    r->angles = layout_place(l, (size_t)n * ROPES * e->shape.head_size, sizeof(float));
    r->score_floats = ((size_t)n + 15) & ~(size_t)15;
    r->member_floats = KERNEL_SCRATCH(widest) + TILE * r->score_floats;
    r->member_scratch = layout_place(l, team_size(r->team) * r->member_floats, sizeof(float));
    r->tiles = layout_place(l, n, sizeof(*r->tiles)); /* each has a row at least */
    r->ids = layout_place(l, n, sizeof(*r->ids));
    r->positions = layout_place(l, n, sizeof(*r->positions));
    r->wanted = layout_place(l, n, sizeof(*r->wanted));
}

int encoder_runner_new(struct encoder_runner **ret, const struct encoder *e, uint32_t rows,
                       uint32_t threads)
{
    CLEANUP(encoder_runner_freep) struct encoder_runner *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->encoder = e;
    r->rows = rows;
    int error = team_new(&r->team, threads);
    if (!error)
        error = layout_allocate(&r->block, &r->block_bytes, place, r);
    if (!error)
        *ret = TAKE(r);
    return error;
}

struct encoder_runner *encoder_runner_free(struct encoder_runner *r)
{
    if (!r)
        return NULL;
    team_free(r->team);
    layout_free(r->block, r->block_bytes);
    free(r);
    return NULL;
}

struct embed_backend encoder_backend(struct encoder_runner *r)
{
    return (struct embed_backend){
        .owner = r, .tasks = r->rows, .rows = r->rows, .step = encoder_step
    };
}
