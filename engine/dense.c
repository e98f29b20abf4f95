/* Products with weights that are numbers, in no blocks, for processors with AVX512.

   A word is a float32, or two neighbours of a row in bfloat16. Weights lie as [outputs / 32][words][32], inputs, tile by
   tile, as [words][rows]: so one word of a row meets the 32 outputs that lie in two registers. An output's sum is always
   taken in the same order, so a row's numbers do not depend on how many rows there are. */

#include "crew.h"
#include "numbers.h"
#include "transpose.h"

enum { LANES = 16, BLOCKS = 2, OUTPUTS = LANES * BLOCKS };
enum { ROWS = 12, CHUNK = 8 * ROWS }; /* of a tile, whose sums stay in registers; of a piece */
enum { SLAB = 512 };                  /* words until the next tile: 64 KiB of weights, which stay near */
enum { LEAST_BYTES = 192 << 10, LEAST_WORDS = 4096 }; /* of weights that a piece meets, of inputs that it packs */

/* Where more rows than FEW share a word, computing takes as long as its way from memory, and it is fetched so many bytes
   before; for fewer the processor does better alone. The layers of the default model, one thread: 4 rows 8.0 ms, fetched
   ahead 10.1; 8 rows 9.1, not fetched ahead 11.1. */
enum { FEW = 4, AHEAD = 8192 };

typedef struct {
    const uint32_t *x, *weights;
    const float *bias;
    uint32_t *inputs;
    void *out;
    long rows, words, outputs, chunks;
    int bfloat16, out_bfloat16;
} Job;

INLINE long least(long one, long other) { return one < other ? one : other; }

INLINE __mmask16 first_of(long count) { return count < LANES ? (__mmask16)((1u << count) - 1) : (__mmask16)0xffff; }

INLINE __mmask16 lanes_from(const Job *job, long output) {
    return output < job->outputs ? first_of(job->outputs - output) : 0;
}

INLINE void store(const Job *job, long row, long output, __m512 values) {
    const long at = row * job->outputs + output;
    if (job->out_bfloat16)
        _mm256_mask_storeu_epi16((uint16_t *)job->out + at, lanes_from(job, output), rounded(values));
    else
        _mm512_mask_storeu_ps((float *)job->out + at, lanes_from(job, output), values);
}

static void pack_tiles(const void *given, long first, long end, int member) {
    const Job *job = given;
    for (long row = first * ROWS; row < least(end * ROWS, job->rows); row += ROWS) {
        const long rows = least(ROWS, job->rows - row);
        const uint32_t *from = job->x + row * job->words;
        uint32_t *to = job->inputs + row * job->words;
        for (long at = 0; at < job->words; at += LANES) {
            __m512i words[LANES];
            for (long each = 0; each < LANES; each++)
                words[each] = each < rows
                    ? _mm512_maskz_loadu_epi32(first_of(job->words - at), from + each * job->words + at)
                    : _mm512_setzero_si512();
            transpose(words);
            for (long each = 0; each < least(LANES, job->words - at); each++)
                _mm512_mask_storeu_epi32(to + (at + each) * rows, first_of(rows), words[each]);
        }
    }
    (void)member;
}

INLINE __m512 add(__m512 sum, __m512i weights, __m512i word, int bfloat16) {
#ifdef __AVX512BF16__
    if (bfloat16) return _mm512_dpbf16_ps(sum, (__m512bh)weights, (__m512bh)word);
#endif
    return _mm512_fmadd_ps(_mm512_castsi512_ps(weights), _mm512_castsi512_ps(word), sum);
}

INLINE void tile(int rows, int bfloat16, long words, const uint32_t *in, const uint32_t *weights,
                 __m512 kept[][BLOCKS]) {
    __m512 sums[ROWS][BLOCKS];
    for (int row = 0; row < rows; row++)
        for (int block = 0; block < BLOCKS; block++) sums[row][block] = kept[row][block];
    for (; words; words--, in += rows, weights += OUTPUTS) {
        __m512i own[BLOCKS];
        for (int block = 0; block < BLOCKS; block++) {
            own[block] = _mm512_loadu_si512(weights + block * LANES);
            if (rows > FEW) _mm_prefetch((const char *)(weights + block * LANES) + AHEAD, _MM_HINT_T1);
        }
        for (int row = 0; row < rows; row++) {
            const __m512i word = _mm512_set1_epi32((int)in[row]);
            for (int block = 0; block < BLOCKS; block++)
                sums[row][block] = add(sums[row][block], own[block], word, bfloat16);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int block = 0; block < BLOCKS; block++) kept[row][block] = sums[row][block];
}

/* Rows and type as constants, so that the sums of a tile stay in registers. */
#define TILE_OF(COUNT)                                                     \
    case 2 * COUNT: tile(COUNT, 0, words, in, weights, kept); break;       \
    case 2 * COUNT + 1: tile(COUNT, 1, words, in, weights, kept); break;
static void tile_of(long rows, int bfloat16, long words, const uint32_t *in, const uint32_t *weights,
                    __m512 kept[][BLOCKS]) {
    switch (2 * rows + bfloat16) {
        TILE_OF(1) TILE_OF(2) TILE_OF(3) TILE_OF(4) TILE_OF(5) TILE_OF(6)
        TILE_OF(7) TILE_OF(8) TILE_OF(9) TILE_OF(10) TILE_OF(11) TILE_OF(12)
    }
}

/* 32 outputs of some rows. */
static void part_of(const Job *job, long output, long row, long end) {
    __m512 sums[CHUNK][BLOCKS];
    for (int block = 0; block < BLOCKS; block++) {
        const long first = output + block * LANES;
        const __m512 start = job->bias ? _mm512_maskz_loadu_ps(lanes_from(job, first), job->bias + first)
                                       : _mm512_setzero_ps();
        for (long each = 0; each < end - row; each++) sums[each][block] = start;
    }
    for (long word = 0; word < job->words; word += SLAB)
        for (long at = row; at < end; at += ROWS) {
            const long rows = least(ROWS, end - at);
            tile_of(rows, job->bfloat16, least(SLAB, job->words - word), job->inputs + at * job->words + word * rows,
                    job->weights + output * job->words + word * OUTPUTS, sums + (at - row));
        }
    for (int block = 0; block < BLOCKS; block++)
        for (long each = row; each < end; each++)
            store(job, each, output + block * LANES, sums[each - row][block]);
}

static void multiply(const void *given, long first, long end, int member) {
    const Job *job = given;
    for (long part = first; part < end; part++) {
        const long row = part % job->chunks * CHUNK;
        part_of(job, part / job->chunks * OUTPUTS, row, least(row + CHUNK, job->rows));
    }
    (void)member;
}

/* out = x * weights + bias. x: [rows, inputs], of the weights' type; out: [rows, outputs], bias: [outputs] or null;
   scratch has room for x. What is given is what whole.c gives to any product. */
void sluice_dense(const void *x, int bfloat16, const void *weights, int bits, const float *bias, void *scratch,
                  void *out, int out_bfloat16, long rows, long inputs, long outputs, int precise, Crew *crew) {
    const long words = bfloat16 ? inputs / 2 : inputs, chunks = (rows + CHUNK - 1) / CHUNK;
    Job given = {
        .x = x, .weights = weights, .bias = bias, .inputs = rows > 1 ? scratch : (void *)x, .out = out,
        .rows = rows, .words = words, .outputs = outputs, .chunks = chunks,
        .bfloat16 = bfloat16, .out_bfloat16 = out_bfloat16,
    };
    const long tiles = (least(rows, CHUNK) + ROWS - 1) / ROWS;
    if (rows > 1) share_out(crew, pack_tiles, &given, (rows + ROWS - 1) / ROWS, piece_of(words, LEAST_WORDS));
    share_out(crew, multiply, &given, (outputs + OUTPUTS - 1) / OUTPUTS * chunks,
              piece_of(tiles * words * OUTPUTS * 4, LEAST_BYTES));
    (void)bits, (void)precise;
}
