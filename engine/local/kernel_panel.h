/*
 * Products of integers, by panels: LANES weight rows side by side, so that a lane sums one row and
 * the order of its sum is that of K for every batch. The file that includes this is compiled for
 * one instruction set and has defined its vectors:
 *
 *     LANES                               rows of a panel
 *     ints, floats                        vectors of LANES 32-bit lanes
 *     ints_load, ints_store, ints_zero, ints_pair (one 32-bit value in every lane)
 *     ints_pieces(p[LANES])               16 bytes of each row as four vectors: lane r of vector j
 *                                         has the bytes 4 j … 4 j + 3 of row r
 *     ints_even, ints_odd                 bytes 0 and 2 (1 and 3) of each lane as two 16-bit
 * numbers ints_dot(sum, w, x)                 sum + w.low · x.low + w.high · x.high, 16 by 16 bits
 *     floats_load, floats_store, floats_all, floats_of (ints), floats_add, floats_sub, floats_mul
 *     MAX_X                               activation rows that fit the registers beside two panels
 */

enum {
    QUADS = BLOCK / 4,
    PANELS = 2,             /* side by side: one activation serves both */
    CHUNK = GROUPS,         /* blocks of a panel: it stays in the first-level cache */
    ROWS_AT_ONCE = 128,     /* activations that one panel serves */
    WIDTH = PANELS * LANES, /* weight rows of a tile */
    CACHE_LINE = 64,        /* bytes */
};

struct panel {
    /* Pairs of neighbouring quads' elements: 0 and 2, then 1 and 3. */
    int16_t w[CHUNK][2 * QUADS][2 * LANES] __attribute__((aligned(64)));
    float scale[CHUNK][2][LANES] __attribute__((aligned(64)));
    float least[CHUNK][2][LANES] __attribute__((aligned(64)));
};

/* Always a constant: the compiler folds it. */
struct integer_format {
    __m256i (*bytes)(const uint8_t *row, size_t b);
    void (*scales)(struct scales *ret, const uint8_t *row, size_t b);
    bool halves, least; /* a scale of 16 elements; a minimum */
};

INLINE void fill_block(struct panel *p, size_t at, const uint8_t *const *rows, size_t b,
                       struct integer_format f)
{
    uint8_t q[LANES][BLOCK] __attribute__((aligned(32)));
    for (int r = 0; r < LANES; r++)
        _mm256_store_si256((__m256i *)(void *)q[r], f.bytes(rows[r], b));
    for (int side = 0; side < 2; side++) {
        const uint8_t *piece[LANES];
        for (int r = 0; r < LANES; r++)
            piece[r] = q[r] + side * 16;
        ints t[4];
        ints_pieces(t, piece);
        for (int j = 0; j < 4; j++) {
            ints_store(p->w[at][side * QUADS + 2 * j], ints_even(t[j]));
            ints_store(p->w[at][side * QUADS + 2 * j + 1], ints_odd(t[j]));
        }
    }
    for (int r = 0; r < LANES; r++) {
        struct scales s;
        f.scales(&s, rows[r], b);
        for (int h = 0; h <= f.halves; h++) {
            p->scale[at][h][r] = s.scale[h];
            if (f.least)
                p->least[at][h][r] = s.least[h];
        }
    }
}

/* The sums of half a block or a whole one join the rows' sums. */
INLINE void join(float (*sum)[PANELS][LANES], ints (*s)[MAX_X], const struct panel *p, size_t at,
                 int h, const struct quants *const *x, int n_panels, int nx)
{
    for (int i = 0; i < nx; i++) {
        floats d = floats_all(x[i]->scale);
        for (int v = 0; v < n_panels; v++) {
            floats scale = floats_mul(floats_load(p[v].scale[at][h]), d);
            floats_store(sum[i][v],
                         floats_add(floats_load(sum[i][v]), floats_mul(floats_of(s[v][i]), scale)));
        }
    }
}

INLINE void join_least(float (*sum)[PANELS][LANES], const struct panel *p, size_t at,
                       const struct quants *const *x, int n_panels, int nx, bool halves)
{
    for (int i = 0; i < nx; i++)
        for (int v = 0; v < n_panels; v++)
            for (int h = 0; h <= halves; h++) {
                floats share = floats_mul(floats_load(p[v].least[at][h]),
                                          floats_all(halves ? x[i]->half[h] : x[i]->sum));
                floats_store(sum[i][v], floats_sub(floats_load(sum[i][v]), share));
            }
}

INLINE void multiply_block(float (*sum)[PANELS][LANES], const struct panel *p, size_t at,
                           const struct quants *const *x, int n_panels, int nx,
                           struct integer_format f)
{
    ints s[PANELS][MAX_X];
    for (int h = 0; h <= f.halves; h++) {
        for (int v = 0; v < n_panels; v++)
            for (int i = 0; i < nx; i++)
                s[v][i] = ints_zero();
        int from = h * QUADS, to = f.halves ? from + QUADS : 2 * QUADS;
        for (int j = from; j < to; j++) {
            ints w[PANELS];
            for (int v = 0; v < n_panels; v++)
                w[v] = ints_load(p[v].w[at][j]);
            for (int i = 0; i < nx; i++) {
                ints a = ints_pair(x[i]->q + 2 * j);
                for (int v = 0; v < n_panels; v++)
                    s[v][i] = ints_dot(s[v][i], w[v], a);
            }
        }
        join(sum, s, p, at, h, x, n_panels, nx);
    }
    if (f.least)
        join_least(sum, p, at, x, n_panels, nx, f.halves);
}

/* Blocks [0, n) of a panel for nx activations, whose block 0 is x[…] + b. */
INLINE void multiply_chunk(float (*sum)[PANELS][LANES], const struct panel *p, size_t n,
                           const void *const *x, size_t b, int n_panels, int nx,
                           struct integer_format f)
{
    for (size_t at = 0; at < n; at++) {
        const struct quants *blocks[MAX_X];
        for (int i = 0; i < nx; i++)
            blocks[i] = (const struct quants *)x[i] + b + at;
        multiply_block(sum, p, at, blocks, n_panels, nx, f);
    }
}

INLINE void multiply_rows(float (*sum)[PANELS][LANES], const struct panel *p, size_t n,
                          const void *const *x, uint32_t nx, size_t b, int n_panels,
                          struct integer_format f)
{
    uint32_t i = 0;
    for (; i + MAX_X <= nx; i += MAX_X)
        multiply_chunk(sum + i, p, n, x + i, b, n_panels, MAX_X, f);
    for (; i + 2 <= nx; i += 2)
        multiply_chunk(sum + i, p, n, x + i, b, n_panels, 2, f);
    if (i < nx)
        multiply_chunk(sum + i, p, n, x + i, b, n_panels, 1, f);
}

/*
 * Asks for the next chunk of each row, one cache line a block: from 32 rows at a time, processors
 * do not guess it. Behind the last chunk comes the first one of the next tile.
 */
INLINE void fetch_ahead(const uint8_t *const *rows, int n, size_t offset, size_t at, size_t bytes)
{
    for (int r = 0; at * CACHE_LINE < bytes && r < n; r++)
        _mm_prefetch((const char *)rows[r] + offset + at * CACHE_LINE, _MM_HINT_T0);
}

/* Weight rows [o, end), at most n_panels × LANES, for activations [first, first + n). */
INLINE void multiply_tile(const struct matmul *m, uint32_t o, uint32_t end, uint32_t first,
                          uint32_t n, int n_panels, struct integer_format f)
{
    struct panel p[PANELS];
    float sum[ROWS_AT_ONCE][PANELS][LANES] __attribute__((aligned(64)));
    const uint8_t *rows[WIDTH];
    for (uint32_t r = 0; r < (uint32_t)(n_panels * LANES); r++) /* the last one fills the panel */
        rows[r] = (const uint8_t *)m->w + (o + r < end ? o + r : end - 1) * m->w_stride;
    memset(sum, 0, n * sizeof(sum[0]));
    size_t blocks = KERNEL_QUANTS(m->k), chunk_bytes = m->w_stride * CHUNK / blocks;
    for (size_t b = 0; b < blocks; b += CHUNK) {
        size_t some = blocks - b < CHUNK ? blocks - b : CHUNK;
        size_t next = b + CHUNK < blocks ? m->w_stride * (b + CHUNK) / blocks : WIDTH * m->w_stride;
        for (size_t at = 0; at < some; at++) {
            fetch_ahead(rows, n_panels * LANES, next, at, chunk_bytes + CACHE_LINE);
            for (int v = 0; v < n_panels; v++)
                fill_block(&p[v], at, rows + v * LANES, b + at, f);
        }
        multiply_rows(sum, p, some, m->x + first, n, b, n_panels, f);
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy(m->y[first + i] + o, sum[i], (end - o) * sizeof(float));
}

/* One copy of the loops a type. */
#define DEFINE_MULTIPLY(TYPE, name, halves, least, dot, mix)                                       \
    static void matmul_##name(const struct matmul *m, uint32_t begin, uint32_t end)                \
    {                                                                                              \
        const struct integer_format f = { bytes_##name, scales_##name, halves, least };            \
        for (uint32_t i = 0; i < m->n; i += ROWS_AT_ONCE) {                                        \
            uint32_t n = m->n - i < ROWS_AT_ONCE ? m->n - i : ROWS_AT_ONCE;                        \
            for (uint32_t o = begin; o < end; o += WIDTH)                                          \
                multiply_tile(m, o, end - o < WIDTH ? end : o + WIDTH, i, n, PANELS, f);           \
        }                                                                                          \
    }
KERNEL_INTEGER_TYPES(DEFINE_MULTIPLY)
