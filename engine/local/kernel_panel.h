/*
 * Products of integers, by panels: LANES weight rows side by side, so that a lane sums one row and
 * the order of its sum is that of K for every batch. The file that includes this is compiled for
 * one instruction set and has defined its vectors:
 *
 * - LANES, the rows of a panel; ints and floats, vectors of LANES 32-bit lanes; MAX_X, the
 *   activation rows that fit the registers beside two panels
 * - ints_load, ints_store, ints_zero, ints_pair: one 32-bit value in every lane
 * - ints_pieces(p[LANES]): 16 bytes of each row as four vectors; lane r of vector j has the bytes
 *   4 j … 4 j + 3 of row r
 * - of bytes: ints_low_nibbles, ints_high_nibbles, ints_less, ints_or, ints_levels;
 *   ints_fifth(bits, quad), bits 4 quad … 4 quad + 3 of a lane as 0 or 16 in its bytes
 * - ints_even, ints_odd: bytes 0 and 2, 1 and 3, of each lane as two 16-bit numbers
 * - ints_dot(sum, w, x): sum + w.low · x.low + w.high · x.high of two 16-bit numbers a lane
 * - floats_load, floats_store, floats_all, floats_of (ints), floats_of_halves (LANES of them),
 *   floats_add, floats_sub, floats_mul
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

/* Where a block of 32 has its nibbles and fifth bits; 0: it has none. Its scale is the first half,
 * a minimum the second. */
struct block_layout {
    uint8_t bytes, nibbles, fifth;
    uint8_t less; /* than what the bits say */
    bool levels;  /* nibbles are places in iq4_levels */
};
#define layout_q8_0 ((struct block_layout){ Q8_0_BYTES, 0, 0, 0, false })
#define layout_q4_0 ((struct block_layout){ Q4_0_BYTES, 2, 0, 8, false })
#define layout_q4_1 ((struct block_layout){ Q4_1_BYTES, 4, 0, 0, false })
#define layout_q5_0 ((struct block_layout){ Q5_0_BYTES, 6, 2, 16, false })
#define layout_q5_1 ((struct block_layout){ Q5_1_BYTES, 8, 4, 0, false })
#define layout_iq4_nl ((struct block_layout){ IQ4_NL_BYTES, 2, 0, 0, true })
#define layout_q2_k ((struct block_layout){ 0 })
#define layout_q3_k ((struct block_layout){ 0 })
#define layout_q4_k ((struct block_layout){ 0 })
#define layout_q5_k ((struct block_layout){ 0 })
#define layout_q6_k ((struct block_layout){ 0 })
#define layout_iq4_xs ((struct block_layout){ 0 })
#define layout_tq1_0 ((struct block_layout){ 0 })
#define layout_tq2_0 ((struct block_layout){ 0 })

/* Always a constant: the compiler folds it. */
struct integer_format {
    struct block_layout block; /* of types with one half of a scale for 32 elements; else zeros */
    __m256i (*bytes)(const uint8_t *row, size_t b);
    void (*scales)(struct scales *ret, const uint8_t *row, size_t b);
    bool halves, least; /* a scale of 16 elements; a minimum */
};

/* Four bytes of each row, quad `quad` of its block. */
INLINE void fill_quad(struct panel *p, size_t at, int quad, ints bytes)
{
    ints_store(p->w[at][2 * quad], ints_even(bytes));
    ints_store(p->w[at][2 * quad + 1], ints_odd(bytes));
}

/* Of 16 neighbouring bytes the low nibbles come first; they are set apart where a vector has them
 * of all rows. */
INLINE void fill_nibbles(struct panel *p, size_t at, const uint8_t *const *rows, size_t b,
                         struct block_layout f)
{
    const uint8_t *piece[LANES];
    uint32_t fifth[LANES] __attribute__((aligned(64)));
    for (int r = 0; r < LANES; r++) {
        piece[r] = rows[r] + b * f.bytes + f.nibbles;
        if (f.fifth)
            fifth[r] = load_u32(rows[r] + b * f.bytes + f.fifth);
    }
    ints t[4];
    ints_pieces(t, piece);
    for (int j = 0; j < QUADS; j++) {
        ints q = j < 4 ? ints_low_nibbles(t[j]) : ints_high_nibbles(t[j - 4]);
        if (f.fifth)
            q = ints_or(q, ints_fifth(ints_load((const int16_t *)(const void *)fifth), j));
        if (f.levels)
            q = ints_levels(q);
        if (f.less)
            q = ints_less(q, f.less);
        fill_quad(p, at, j, q);
    }
}

INLINE void fill_halves(float *ret, const uint8_t *const *rows, size_t offset, float sign)
{
    uint16_t half[LANES] __attribute__((aligned(32)));
    for (int r = 0; r < LANES; r++)
        half[r] = load_u16(rows[r] + offset);
    floats_store(ret, floats_mul(floats_of_halves(half), floats_all(sign)));
}

INLINE void fill_scales(struct panel *p, size_t at, const uint8_t *const *rows, size_t b,
                        struct integer_format f)
{
    if (f.block.bytes) {
        fill_halves(p->scale[at][0], rows, b * f.block.bytes, 1);
        if (f.least)
            fill_halves(p->least[at][0], rows, b * f.block.bytes + 2, -1);
        return;
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

INLINE void fill_block(struct panel *p, size_t at, const uint8_t *const *rows, size_t b,
                       struct integer_format f)
{
    fill_scales(p, at, rows, b, f);
    if (f.block.nibbles) {
        fill_nibbles(p, at, rows, b, f.block);
        return;
    }
    uint8_t q[LANES][BLOCK] __attribute__((aligned(32)));
    for (int r = 0; r < LANES; r++)
        _mm256_store_si256((__m256i *)(void *)q[r], f.bytes(rows[r], b));
    for (int side = 0; side < 2; side++) {
        const uint8_t *piece[LANES];
        for (int r = 0; r < LANES; r++)
            piece[r] = q[r] + side * 16;
        ints t[4];
        ints_pieces(t, piece);
        for (int j = 0; j < 4; j++)
            fill_quad(p, at, side * 4 + j, t[j]);
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
        const struct integer_format f = { layout_##name, bytes_##name, scales_##name, halves,      \
                                          least };                                                 \
        for (uint32_t i = 0; i < m->n; i += ROWS_AT_ONCE) {                                        \
            uint32_t n = m->n - i < ROWS_AT_ONCE ? m->n - i : ROWS_AT_ONCE;                        \
            for (uint32_t o = begin; o < end; o += WIDTH)                                          \
                multiply_tile(m, o, end - o < WIDTH ? end : o + WIDTH, i, n, PANELS, f);           \
        }                                                                                          \
    }
KERNEL_INTEGER_TYPES(DEFINE_MULTIPLY)
