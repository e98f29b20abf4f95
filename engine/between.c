/* What a step of a decoder does between its products, for processors with AVX512: norms, gates, and the attention of
   rows that decode. Values are bfloat16 or float32, computed in float32 and rounded once. */

#include "crew.h"
#include "numbers.h"
#include "heads.h"
#include "context.h"

enum { TOGETHER = 4, MOST_GROUP = 8, MOST_DIM = 256 };

/* What a piece has at least: a microsecond of work or more. */
enum { LEAST_NORMED = 4096, LEAST_GATED = 2048, LEAST_KEPT = 8 };


typedef struct {
    void *x;
    const void *more;
    const float *weight;
    void *out;
    int bfloat16;
    long rows, size;
    float eps;
} Norm;

static void norm_rows(const void *given, long from, long to, int member) {
    const Norm *n = given;
    const int bfloat16 = n->bfloat16;
    for (long row = from; row < to; row++) {
        const long first = row * n->size, end = first + n->size;
        __m512 squares = _mm512_setzero_ps();
        for (long at = first; at < end; at += LANES) {
            if (n->more)
                store(n->x, at, _mm512_add_ps(load(n->x, at, bfloat16), load(n->more, at, bfloat16)), bfloat16);
            __m512 value = load(n->x, at, bfloat16);
            squares = _mm512_fmadd_ps(value, value, squares);
        }
        __m512 factor =
            _mm512_set1_ps(1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / (float)n->size + n->eps));
        for (long at = 0; at < n->size; at += LANES) {
            __m512 value = _mm512_mul_ps(load(n->x, first + at, bfloat16), factor);
            store(n->out, first + at, _mm512_mul_ps(value, _mm512_loadu_ps(n->weight + at)), bfloat16);
        }
    }
    (void)member;
}

/* x += more (if there is any), then out = x / sqrt(mean(x^2) + eps) * weight. All [rows, size] but weight: [size]. */
void sluice_norm(void *x, const void *more, const float *weight, void *out, int bfloat16, long rows, long size,
                 float eps, Crew *crew) {
    Norm given = {x, more, weight, out, bfloat16, rows, size, eps};
    share_out(crew, norm_rows, &given, rows, piece_of(size, LEAST_NORMED));
}

typedef struct {
    const void *x;
    void *out;
    int bfloat16, gelu;
    long rows, size;
} Gate;

static void gate_rows(const void *given, long first, long end, int member) {
    const Gate *g = given;
    const __m512 one = _mm512_set1_ps(1.0f);
    for (long row = first; row < end; row++)
        for (long at = 0; at < g->size; at += LANES) {
            __m512 gate = load(g->x, 2 * row * g->size + at, g->bfloat16), exponent = gate;
            if (g->gelu) {
                __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(gate, gate), _mm512_set1_ps(0.044715f));
                exponent = _mm512_mul_ps(_mm512_fmadd_ps(cubic, gate, gate), _mm512_set1_ps(1.59576912f));
            }
            __m512 below = _mm512_add_ps(one, power(_mm512_sub_ps(_mm512_setzero_ps(), exponent)));
            __m512 up = load(g->x, (2 * row + 1) * g->size + at, g->bfloat16);
            store(g->out, row * g->size + at, _mm512_mul_ps(_mm512_div_ps(gate, below), up), g->bfloat16);
        }
    (void)member;
}

/* out = act(gate) * up; x: [rows, 2 size], gate before up; out: [rows, size]. act: SiLU, or GELU by tanh, which is
   SiLU's form with another exponent. */
void sluice_gate(const void *x, void *out, int bfloat16, long rows, long size, int gelu, Crew *crew) {
    Gate given = {x, out, bfloat16, gelu, rows, size};
    share_out(crew, gate_rows, &given, rows, piece_of(size, LEAST_GATED));
}

/* The sums of four registers. */
INLINE __m128 four_sums(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512 all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* scores[g][token - low] = queries[g] . key; four keys at a time, the last ones repeated where they end. The
   next page's are fetched meanwhile. */
INLINE void score(int group, const Context *context, const float *queries, float *scores, long width) {
    const long dim = context->dim, bytes = token_bytes(context);
    for (Run run = {.end = context->low}; run.end < context->end;) {
        run = run_at(context, run.end);
        for (long token = run.token; token < run.end; token += TOGETHER) {
            const char *keys[TOGETHER];
            for (int each = 0; each < TOGETHER; each++)
                keys[each] = context->keys + run.place + (token + each < run.end ? token + each - run.token : 0) * bytes;
            fetch(context->keys + run.next + (token - run.token) * bytes, TOGETHER * bytes);
            __m512 sums[MOST_GROUP][TOGETHER];
            for (int g = 0; g < group; g++)
                for (int each = 0; each < TOGETHER; each++) sums[g][each] = _mm512_setzero_ps();
            for (long at = 0; at < dim; at += 2 * LANES)
                for (int each = 0; each < TOGETHER; each++) {
                    __m512 key[2];
                    load_two(keys[each] + at * (bytes / dim), context->bfloat16, key);
                    for (int g = 0; g < group; g++)
                        for (int half = 0; half < 2; half++)
                            sums[g][each] = _mm512_fmadd_ps(
                                key[half], _mm512_loadu_ps(queries + g * dim + at + half * LANES), sums[g][each]);
                }
            for (int g = 0; g < group; g++)
                _mm_storeu_ps(scores + g * width + (token - context->low),
                              four_sums(sums[g][0], sums[g][1], sums[g][2], sums[g][3]));
        }
    }
}

/* Scores become shares, which add up to the sum that is returned. */
INLINE float share(float *scores, long count) {
    long whole = (count + LANES - 1) / LANES * LANES;
    for (long at = count; at < whole; at++) scores[at] = -__builtin_inff();
    __m512 top = _mm512_loadu_ps(scores), sum = _mm512_setzero_ps();
    for (long at = LANES; at < whole; at += LANES) top = _mm512_max_ps(top, _mm512_loadu_ps(scores + at));
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (long at = 0; at < whole; at += LANES) {
        __m512 value = _mm512_loadu_ps(scores + at);
        __m512 part = power(_mm512_sub_ps(value, top));
        part = _mm512_mask_mov_ps(part, _mm512_cmp_ps_mask(value, _mm512_set1_ps(-__builtin_inff()), _CMP_EQ_OQ),
                                  _mm512_setzero_ps());
        sum = _mm512_add_ps(sum, part);
        _mm512_storeu_ps(scores + at, part);
    }
    return _mm512_reduce_add_ps(sum);
}

/* out[g] = sum over tokens of shares[g][token] * value / sums[g]; 64 or 32 places of a head at a time. */
INLINE void mix(int group, int pairs, const Context *context, const float *shares, long width, const float *sums,
                char *out, long at) {
    const long bytes = token_bytes(context), element = bytes / context->dim;
    __m512 mixed[MOST_GROUP][2][2];
    for (int g = 0; g < group; g++)
        for (int part = 0; part < 2 * pairs; part++) mixed[g][part / 2][part % 2] = _mm512_setzero_ps();
    for (Run run = {.end = context->low}; run.end < context->end;) {
        run = run_at(context, run.end);
        const char *values = context->values + run.place + at * element;
        for (long token = run.token; token < run.end; token++, values += bytes)
            for (int pair = 0; pair < pairs; pair++) {
                __m512 value[2];
                load_two(values + pair * 2 * LANES * element, context->bfloat16, value);
                for (int g = 0; g < group; g++) {
                    __m512 weight = _mm512_set1_ps(shares[g * width + (token - context->low)]);
                    for (int half = 0; half < 2; half++)
                        mixed[g][pair][half] = _mm512_fmadd_ps(value[half], weight, mixed[g][pair][half]);
                }
            }
    }
    for (int g = 0; g < group; g++)
        for (int pair = 0; pair < pairs; pair++) {
            for (int half = 0; half < 2; half++)
                mixed[g][pair][half] = _mm512_div_ps(mixed[g][pair][half], _mm512_set1_ps(sums[g]));
            store_two(out + (g * context->dim + at + pair * 2 * LANES) * element, context->bfloat16, mixed[g][pair]);
        }
}

INLINE void attend(int group, const Context *context, const float *queries, float *scores, long width, char *out) {
    float sums[MOST_GROUP];
    long at = 0;
    score(group, context, queries, scores, width);
    for (int g = 0; g < group; g++) sums[g] = share(scores + g * width, context->end - context->low);
    for (; at + 64 <= context->dim; at += 64) mix(group, 2, context, scores, width, sums, out, at);
    if (at < context->dim) mix(group, 1, context, scores, width, sums, out, at);
}

/* The size of a group as a constant, so that sums stay in registers. */
static void attend_group(int group, const Context *context, const float *queries, float *scores, long width,
                         char *out) {
#define GROUP_OF(SIZE) \
    case SIZE: attend(SIZE, context, queries, scores, width, out); break;
    switch (group) {
        GROUP_OF(1) GROUP_OF(2) GROUP_OF(3) GROUP_OF(4) GROUP_OF(5) GROUP_OF(6) GROUP_OF(7) GROUP_OF(8)
    }
}

typedef struct {
    const void *qkv;
    const float *turns;
    char *pool;
    const int32_t *tables;
    const int64_t *starts, *positions;
    char *out;
    float *scratch;
    long width, head_bytes, rows, heads, kv_heads, dim, page_tokens, window;
    int bfloat16;
    float scale;
} Attend;

/* What one head of a row's token sees. */
INLINE Context context_of(const Attend *a, long row, long head) {
    const char *keys = a->pool + head * a->head_bytes, *values = keys + a->kv_heads * a->head_bytes;
    const long position = a->positions[row], low = position >= a->window ? position + 1 - a->window : 0;
    return (Context){keys, values, a->tables + a->starts[row], a->page_tokens, a->dim, low, position + 1, a->bfloat16};
}

static void keep_one(const Attend *a, long row, long head) {
    const Context context = context_of(a, row, head);
    const long dim = a->dim, own = run_at(&context, a->positions[row]).place;
    const long from = (row * (a->heads + 2 * a->kv_heads) + a->heads + head) * dim;
    const float *cos = a->turns ? a->turns + 2 * row * dim : 0, *sin = a->turns ? cos + dim : 0;
    float key[MOST_DIM];
    turn(a->qkv, from, dim, cos, sin, 1.0f, a->bfloat16, key);
    for (long at = 0; at < dim; at += LANES) {
        store((char *)context.keys + own, at, _mm512_loadu_ps(key + at), a->bfloat16);
        store((char *)context.values + own, at, load(a->qkv, from + a->kv_heads * dim + at, a->bfloat16), a->bfloat16);
    }
}

static void attend_one(const Attend *a, long row, long head, float *scores) {
    const int group = (int)(a->heads / a->kv_heads), bytes = a->bfloat16 ? 2 : 4;
    const long dim = a->dim, row_first = row * (a->heads + 2 * a->kv_heads) * dim;
    const float *cos = a->turns ? a->turns + 2 * row * dim : 0, *sin = a->turns ? cos + dim : 0;
    const Context context = context_of(a, row, head);
    float queries[MOST_GROUP * MOST_DIM];
    for (int g = 0; g < group; g++)
        turn(a->qkv, row_first + (head * group + g) * dim, dim, cos, sin, a->scale, a->bfloat16, queries + g * dim);
    arrange(queries, group * dim, a->bfloat16);
    attend_group(group, &context, queries, scores, a->width, a->out + (row * a->heads + head * group) * dim * bytes);
}

static void keep_units(const void *given, long first, long end, int member) {
    const Attend *a = given;
    for (long unit = first; unit < end; unit++) keep_one(a, unit / a->kv_heads, unit % a->kv_heads);
    (void)member;
}

static void attend_units(const void *given, long first, long end, int member) {
    const Attend *a = given;
    float *scores = a->scratch + member * (a->heads / a->kv_heads) * a->width;
    for (long unit = first; unit < end; unit++) attend_one(a, unit / a->kv_heads, unit % a->kv_heads, scores);
}

/* One token of each row: the keys and values of all are stored, then each attends to its pages. Rows may be tokens of
   one sequence, with the same pages.

   qkv: [rows, heads + 2 kv_heads, dim], turns: [rows, 2, dim] or null if queries and keys are turned already.
   pool: [2 kv_heads, pages, page_tokens, dim], keys first. tables: the rows' pages one after the other, of which
   each row's begin at starts[row]. The row's token stands at positions[row] and sees `window` tokens, itself
   included. out: [rows, heads, dim]; scratch: [members, heads / kv_heads, width], width at least the longest context
   plus 16. dim is a multiple of 32, heads / kv_heads at most 8. */
void sluice_attend(const void *qkv, const float *turns, void *pool, long pool_pages, const int32_t *tables,
                   const int64_t *starts, const int64_t *positions, void *out, float *scratch, long width,
                   int bfloat16, long rows, long heads, long kv_heads, long dim, long page_tokens, long window,
                   float scale, Crew *crew) {
    const long head_bytes = pool_pages * page_tokens * dim * (bfloat16 ? 2 : 4);
    Attend given = {qkv,   turns,      pool, tables, starts,   positions, out,         scratch, width,
                    head_bytes, rows,  heads, kv_heads, dim, page_tokens, window, bfloat16, scale};
    share_out(crew, keep_units, &given, rows * kv_heads, LEAST_KEPT);
    share_out(crew, attend_units, &given, rows * kv_heads, 1); /* a row may see what another one brings */
}
