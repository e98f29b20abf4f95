/* Attention of rows with several tokens, straight on their pages, for processors with AVX512.

   A row's queries meet its keys in blocks of 64, which begin at multiples of 64: what a query gets does not depend on
   how its prompt was cut. A block is packed once for up to 64 tokens' queries of all heads that share it. Products are
   of words: a float32, or two bfloat16 multiplied at once where the processor can (AVX512-BF16). Between blocks the
   softmax is kept as its greatest score, its sum and what was mixed so far. */

#include "crew.h"
#include "numbers.h"
#include "heads.h"
#include "packing.h"

enum { TILE = 6, TOKENS = 64, PIECE_TOKENS = 16, MOST_DIM = 256 };
#define HIDDEN (-1e30f)

typedef struct {
    const void *qkv;
    const float *turns;
    char *pool;
    const int32_t *tables;
    const int64_t *starts, *firsts, *positions;
    char *out;
    uint32_t *scratch;
    long room, head_bytes, rows, heads, kv_heads, dim, page_tokens, window;
    int bfloat16, pairs;
    float scale;
} Prompts;

/* Up to TOKENS tokens of a row, and one head of its keys and values with the query heads that share it. */
typedef struct {
    Pages pages;
    long first, count, position, head; /* first: in the batch; position: of the first */
    uint32_t *packed_keys, *packed_values, *queries;
    float *mixed, *tops, *sums;
} Part;

INLINE __m512 plus(__m512 sum, __m512i left, __m512i right, int pairs) {
#ifdef __AVX512BF16__
    if (pairs) return _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right);
#endif
    (void)pairs;
    return _mm512_fmadd_ps(_mm512_castsi512_ps(left), _mm512_castsi512_ps(right), sum);
}

/* scores[row][key] of some queries and a block's keys. */
INLINE void score(int rows, int pairs, long steps, const uint32_t *queries, const uint32_t *keys, float *scores) {
    __m512 sums[TILE][PARTS];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < PARTS; part++) sums[row][part] = _mm512_setzero_ps();
    for (long step = 0; step < steps; step++) {
        __m512i words[PARTS];
        for (int part = 0; part < PARTS; part++) words[part] = _mm512_loadu_si512(keys + step * BLOCK + part * LANES);
        for (int row = 0; row < rows; row++) {
            const __m512i query = _mm512_set1_epi32((int)queries[row * steps + step]);
            for (int part = 0; part < PARTS; part++) sums[row][part] = plus(sums[row][part], query, words[part], pairs);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < PARTS; part++)
            _mm512_storeu_ps(scores + row * BLOCK + part * LANES, sums[row][part]);
}

/* One row's scores become its shares, of which the first `low` and those from `high` on are none; returns what earlier
   blocks count now. */
INLINE float weigh(int pairs, float scale, long low, long high, float *scores, float *top, float *sum) {
    const __m512 hidden = _mm512_set1_ps(HIDDEN);
    __m512 values[PARTS], most = _mm512_set1_ps(*top), all = _mm512_setzero_ps();
    __mmask16 seen[PARTS];
    for (int part = 0; part < PARTS; part++) {
        const long from = low - part * LANES, to = high - part * LANES;
        const unsigned below = from <= 0 ? 0 : from >= LANES ? 0xffff : (1u << from) - 1;
        const unsigned under = to <= 0 ? 0 : to >= LANES ? 0xffff : (1u << to) - 1;
        seen[part] = (__mmask16)(under & ~below);
        values[part] = _mm512_mul_ps(_mm512_loadu_ps(scores + part * LANES), _mm512_set1_ps(scale));
        most = _mm512_max_ps(most, _mm512_mask_mov_ps(hidden, seen[part], values[part]));
    }
    const __m512 greatest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    const float factor = _mm512_cvtss_f32(power(_mm512_sub_ps(_mm512_set1_ps(*top), greatest)));
    for (int part = 0; part < PARTS; part++) {
        const __m512 share = _mm512_maskz_mov_ps(seen[part], power(_mm512_sub_ps(values[part], greatest)));
        all = _mm512_add_ps(all, share);
        store(scores, part * LANES, share, pairs);
    }
    *top = _mm512_cvtss_f32(greatest);
    *sum = *sum * factor + _mm512_reduce_add_ps(all);
    return factor;
}

/* mixed[row] = factor * mixed[row] + shares * values; `parts` registers from `at` on. */
INLINE void mix(int rows, int parts, int pairs, long dim, const uint32_t *shares, const uint32_t *values,
                const float *factors, float *mixed, long at) {
    __m512 sums[TILE][4];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < parts; part++)
            sums[row][part] = _mm512_mul_ps(_mm512_loadu_ps(mixed + row * dim + at + part * LANES),
                                            _mm512_set1_ps(factors[row]));
    for (long step = 0; step < (pairs ? BLOCK / 2 : BLOCK); step++) {
        __m512i words[4];
        for (int part = 0; part < parts; part++)
            words[part] = _mm512_loadu_si512(values + step * dim + at + part * LANES);
        for (int row = 0; row < rows; row++) {
            const __m512i share = _mm512_set1_epi32((int)shares[row * BLOCK + step]);
            for (int part = 0; part < parts; part++) sums[row][part] = plus(sums[row][part], share, words[part], pairs);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < parts; part++)
            _mm512_storeu_ps(mixed + row * dim + at + part * LANES, sums[row][part]);
}

/* Some of a part's queries, from `query` on, and the block from token `block` on. */
INLINE void meet(int rows, int pairs, const Prompts *p, const Part *part, long block, long query) {
    const long group = p->heads / p->kv_heads, steps = pairs ? p->dim / 2 : p->dim;
    float scores[TILE * BLOCK], factors[TILE];
    score(rows, pairs, steps, part->queries + query * steps, part->packed_keys, scores);
    for (int row = 0; row < rows; row++) {
        const long high = part->position + (query + row) / group + 1 - block, low = high - p->window;
        factors[row] = weigh(pairs, p->scale, low, high, scores + row * BLOCK, part->tops + query + row,
                             part->sums + query + row);
    }
    float *mixed = part->mixed + query * p->dim;
    long at = 0;
    for (; at + 64 <= p->dim; at += 64)
        mix(rows, 4, pairs, p->dim, (uint32_t *)scores, part->packed_values, factors, mixed, at);
    if (at < p->dim) mix(rows, 2, pairs, p->dim, (uint32_t *)scores, part->packed_values, factors, mixed, at);
}

/* Constants, so that sums stay in registers. */
static void meet_tile(int rows, const Prompts *p, const Part *part, long block, long query) {
#define ROWS_OF(COUNT)                                                       \
    case 2 * COUNT: meet(COUNT, 0, p, part, block, query); break;            \
    case 2 * COUNT + 1: meet(COUNT, 1, p, part, block, query); break;
    switch (2 * rows + p->pairs) { ROWS_OF(1) ROWS_OF(2) ROWS_OF(3) ROWS_OF(4) ROWS_OF(5) ROWS_OF(6) }
}

static void pack_queries(const Prompts *p, const Part *part) {
    const long group = p->heads / p->kv_heads, dim = p->dim, steps = p->pairs ? dim / 2 : dim;
    for (long query = 0; query < part->count * group; query++) {
        const long token = part->first + query / group;
        const long head = token * (p->heads + 2 * p->kv_heads) + part->head * group + query % group;
        const float *cos = p->turns ? p->turns + 2 * token * dim : 0, *sin = p->turns ? cos + dim : 0;
        float turned[MOST_DIM];
        turn(p->qkv, head * dim, dim, cos, sin, 1.0f, p->bfloat16, turned);
        for (long at = 0; at < dim; at += LANES)
            store(part->queries + query * steps, at, _mm512_loadu_ps(turned + at), p->pairs);
        for (long at = 0; at < dim; at += LANES)
            _mm512_storeu_ps(part->mixed + query * dim + at, _mm512_setzero_ps());
        part->tops[query] = HIDDEN, part->sums[query] = 0;
    }
}

static void write_out(const Prompts *p, const Part *part) {
    const long group = p->heads / p->kv_heads;
    for (long query = 0; query < part->count * group; query++) {
        const long head = (part->first + query / group) * p->heads + part->head * group + query % group;
        const __m512 sum = _mm512_set1_ps(part->sums[query]);
        for (long at = 0; at < p->dim; at += LANES) {
            const __m512 mixed = _mm512_loadu_ps(part->mixed + query * p->dim + at);
            store(p->out, head * p->dim + at, _mm512_div_ps(mixed, sum), p->bfloat16);
        }
    }
}

static void pack(const Pages *pages, long block, long end, int pairs, uint32_t *keys, uint32_t *values) {
    if (pairs)
        pack_keys(pages, block, end, 1, keys), pack_values(pages, block, end, 1, values);
    else
        pack_keys(pages, block, end, 0, keys), pack_values(pages, block, end, 0, values);
}

static void attend_part(const Prompts *p, const Part *part) {
    const long group = p->heads / p->kv_heads, queries = part->count * group, end = part->position + part->count;
    const long seen_first = part->position + 1 - p->window;
    pack_queries(p, part);
    for (long block = seen_first > 0 ? seen_first / BLOCK * BLOCK : 0; block < end; block += BLOCK) {
        pack(&part->pages, block, end, p->pairs, part->packed_keys, part->packed_values);
        /* Queries before the block's first token see nothing of it. */
        const long before = block > part->position ? (block - part->position) * group : 0;
        for (long query = before; query < queries; query += TILE)
            meet_tile(queries - query < TILE ? (int)(queries - query) : TILE, p, part, block, query);
    }
    write_out(p, part);
}

INLINE Pages pages_of(const Prompts *p, long row, long head) {
    const char *keys = p->pool + head * p->head_bytes;
    return (Pages){keys, keys + p->kv_heads * p->head_bytes, p->tables + p->starts[row], p->page_tokens, p->dim,
                   p->bfloat16};
}

/* Those of some tokens that are the row's: their keys, turned, and their values go to their pages. */
static void keep_row(const Prompts *p, long row, long from, long to) {
    const long dim = p->dim, heads = p->heads + 2 * p->kv_heads, first = p->firsts[row], end = p->firsts[row + 1];
    for (long token = from > first ? from : first; token < to && token < end; token++) {
        const float *cos = p->turns ? p->turns + 2 * token * dim : 0, *sin = p->turns ? cos + dim : 0;
        for (long head = 0; head < p->kv_heads; head++) {
            const Pages pages = pages_of(p, row, head);
            const long own = place(&pages, p->positions[row] + token - first);
            const long key = (token * heads + p->heads + head) * dim, value = key + p->kv_heads * dim;
            float turned[MOST_DIM];
            turn(p->qkv, key, dim, cos, sin, 1.0f, p->bfloat16, turned);
            for (long at = 0; at < dim; at += LANES) {
                store((char *)pages.keys, own + at, _mm512_loadu_ps(turned + at), p->bfloat16);
                store((char *)pages.values, own + at, load(p->qkv, value + at, p->bfloat16), p->bfloat16);
            }
        }
    }
}

static void keep(const void *given, long first, long end, int member) {
    const Prompts *p = given;
    for (long row = 0; row < p->rows; row++) keep_row(p, row, first, end);
    (void)member;
}

/* How many parts a row has of each head. */
INLINE long parts_of(const Prompts *p, long row) { return (p->firsts[row + 1] - p->firsts[row] + TOKENS - 1) / TOKENS; }

/* Each of a row's parts has its heads one after the other. */
static void attend_one(const Prompts *p, long row, long unit, uint32_t *scratch) {
    const long group = p->heads / p->kv_heads, head = unit % p->kv_heads, done = unit / p->kv_heads * TOKENS;
    const long first = p->firsts[row] + done, left = p->firsts[row + 1] - first, tokens = left < TOKENS ? left : TOKENS;
    const long words = tokens * group * p->dim;
    uint32_t *queries = scratch + 2 * BLOCK * p->dim;
    float *mixed = (float *)queries + words;
    const Part part = {
        pages_of(p, row, head), first, tokens, p->positions[row] + done, head,
        scratch, scratch + BLOCK * p->dim, queries, mixed, mixed + words, mixed + words + tokens * group,
    };
    attend_part(p, &part);
}

static void attend(const void *given, long first, long end, int member) {
    const Prompts *p = given;
    long before = 0; /* units of earlier rows */
    for (long row = 0; row < p->rows; row++) {
        const long units = parts_of(p, row) * p->kv_heads;
        for (long unit = first > before ? first - before : 0; unit < units && before + unit < end; unit++)
            attend_one(p, row, unit, p->scratch + member * p->room);
        before += units;
    }
}

/* Words of scratch that a member of the crew needs. */
long sluice_prompts_room(long group, long dim) {
    return 2 * BLOCK * dim + TOKENS * group * (2 * dim + 2);
}

/* Several tokens of each row: their keys and values are stored, then each attends to its row's pages up to itself.

   qkv: [tokens, heads + 2 kv_heads, dim], turns: [tokens, 2, dim] or null if queries and keys are turned already.
   pool: [2 kv_heads, pages, page_tokens, dim], keys first. tables: the rows' pages one after the other, of which
   each row's begin at starts[row]. A row has the tokens firsts[row] ... firsts[row + 1] - 1, from positions[row] on;
   each sees `window` tokens, itself included. out: [tokens, heads, dim]; scratch: [members, sluice_prompts_room()].
   dim is a multiple of 32, heads / kv_heads at most 8. */
void sluice_attend_prompts(const void *qkv, const float *turns, void *pool, long pool_pages, const int32_t *tables,
                           const int64_t *starts, const int64_t *firsts, const int64_t *positions, void *out,
                           uint32_t *scratch, int bfloat16, long rows, long heads, long kv_heads, long dim,
                           long page_tokens, long window, float scale, Crew *crew) {
#ifdef __AVX512BF16__
    const int pairs = bfloat16;
#else
    const int pairs = 0;
#endif
    Prompts given = {
        qkv, turns, pool, tables, starts, firsts, positions, out, scratch,
        sluice_prompts_room(heads / kv_heads, dim), pool_pages * page_tokens * dim * (bfloat16 ? 2 : 4),
        rows, heads, kv_heads, dim, page_tokens, window, bfloat16, pairs, scale,
    };
    long units = 0;
    for (long row = 0; row < rows; row++) units += parts_of(&given, row) * kv_heads;
    share_out(crew, keep, &given, firsts[rows], PIECE_TOKENS);
    share_out(crew, attend, &given, units, 1);
}
