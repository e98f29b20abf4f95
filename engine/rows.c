/* Products of many rows with weights in blocks (see quantized.py), for processors with AVX512-VNNI.

   As in products.c an input is a whole number times the scale of its group of 32, and sums are whole numbers inside a
   group. Where many rows share what is unpacked, the number of multiplications decides, so inputs have 8 bits; but a
   group's scale is that of its third-greatest four: the two fours with the greatest inputs, which would make all others
   coarse, have 7 more bits above their 8, multiplied apart. */

#include "crew.h"
#include "numbers.h"

enum { GROUP = 32, LANES = 16, FOURS = 8, ROWS = 6, BLOCKS = 2, BYTES4 = 320, BYTES8 = 544, MOST = 127, PIECE_ROWS = 8 };
enum { ABOVE = 7, WHOLE = 1 << ABOVE }; /* input = scale * (whole + 128 * above) */

/* A group of a row's inputs. */
typedef struct {
    int8_t whole[GROUP];
    int8_t above[2][4];  /* of the fours that are apart */
    int32_t place[2];    /* where their codes lie */
    float scale, sum;    /* sum: of the inputs as quantised */
} Inputs;

/* A group of the weights to 16 outputs. */
typedef struct {
    uint8_t codes[FOURS][4 * LANES];
    float scale[LANES], least[LANES];
} Weights;

typedef struct {
    const void *x;
    const uint8_t *weights;
    const float *bias;
    Inputs *inputs;
    Weights *unpacked;
    void *out;
    long rows, outputs, groups;
    int bits, x_bfloat16, out_bfloat16;
} Job;

/* The greatest of each four, its place in the last 3 bits: as whole numbers, bits of floats without a sign keep their
   order, and what is no number is above all. */
INLINE __m256i keys_of(__m512 first, __m512 second) {
    const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i low = _mm512_castps_si512(_mm512_abs_ps(first)), high = _mm512_castps_si512(_mm512_abs_ps(second));
    low = _mm512_max_epi32(low, _mm512_shuffle_epi32(low, _MM_PERM_CDAB));
    low = _mm512_max_epi32(low, _mm512_shuffle_epi32(low, _MM_PERM_BADC));
    high = _mm512_max_epi32(high, _mm512_shuffle_epi32(high, _MM_PERM_CDAB));
    high = _mm512_max_epi32(high, _mm512_shuffle_epi32(high, _MM_PERM_BADC));
    const __m256i tops = _mm512_castsi512_si256(_mm512_permutex2var_epi32(low, lanes, high));
    const __m256i clear = _mm256_andnot_si256(_mm256_set1_epi32(7), tops);
    return _mm256_or_si256(clear, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The greatest in every lane. */
INLINE __m256i greatest(__m256i keys) {
    keys = _mm256_max_epi32(keys, _mm256_permute2x128_si256(keys, keys, 1));
    keys = _mm256_max_epi32(keys, _mm256_shuffle_epi32(keys, 0x4e));
    return _mm256_max_epi32(keys, _mm256_shuffle_epi32(keys, 0xb1));
}

INLINE float size_of(__m256i key) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_and_si128(_mm256_castsi256_si128(key), _mm_set1_epi32(~7))));
}

static void quantize(const void *x, long index, int bfloat16, Inputs *out) {
    __m512 first = load(x, index, bfloat16), second = load(x, index + LANES, bfloat16);
    __m256i keys = keys_of(first, second), top = greatest(keys);
    const float most = size_of(top);
    uint32_t apart = 0; /* the inputs of the two fours */
    int8_t above[GROUP];
    for (int n = 0; n < 2; n++, top = greatest(keys)) {
        const int four = _mm256_cvtsi256_si32(top) & 7;
        out->place[n] = four;
        apart |= 0xfu << (4 * four);
        keys = _mm256_mask_mov_epi32(keys, (__mmask8)(1u << four), _mm256_setzero_si256());
    }
    float step = size_of(top) / MOST;
    const float finest = most / (MOST * WHOLE);
    step = step > finest ? step : finest;
    const int none = !(most < __builtin_inff());
    const __m512 factor = _mm512_set1_ps(step > 1e-32f && !none ? 1.0f / step : 0.0f);
    __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(first, factor));
    __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(second, factor));
    const float sum = (float)_mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
    const __m512i half = _mm512_set1_epi32(WHOLE / 2);
    const __m512i above_low = _mm512_maskz_srai_epi32((__mmask16)apart, _mm512_add_epi32(low, half), ABOVE);
    const __m512i above_high = _mm512_maskz_srai_epi32((__mmask16)(apart >> 16), _mm512_add_epi32(high, half), ABOVE);
    low = _mm512_sub_epi32(low, _mm512_slli_epi32(above_low, ABOVE));
    high = _mm512_sub_epi32(high, _mm512_slli_epi32(above_high, ABOVE));
    _mm_storeu_si128((__m128i *)out->whole, _mm512_cvtsepi32_epi8(low));
    _mm_storeu_si128((__m128i *)(out->whole + 16), _mm512_cvtsepi32_epi8(high));
    _mm_storeu_si128((__m128i *)above, _mm512_cvtsepi32_epi8(above_low));
    _mm_storeu_si128((__m128i *)(above + 16), _mm512_cvtsepi32_epi8(above_high));
    for (int n = 0; n < 2; n++) __builtin_memcpy(out->above[n], above + 4 * out->place[n], 4);
    out->scale = none ? __builtin_nanf("") : step;
    out->sum = out->scale * sum;
}

INLINE __m512 halves(const uint8_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

/* 4 x 64 bytes of codes, inputs 0-15 in the low halves and 16-31 in the high, 16 scales, 16 leasts. */
INLINE void unpack4(const uint8_t *from, Weights *to) {
    const __m512i low_half = _mm512_set1_epi8(15);
    for (int part = 0; part < 4; part++) {
        const __m512i both = _mm512_loadu_si512(from + 64 * part);
        _mm512_storeu_si512(to->codes[part], _mm512_and_si512(both, low_half));
        _mm512_storeu_si512(to->codes[part + 4], _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half));
    }
    _mm512_storeu_ps(to->scale, halves(from + 256));
    _mm512_storeu_ps(to->least, halves(from + 288));
}

/* 8 x 64 bytes of codes, 128 added to each, and 16 scales. */
INLINE void unpack8(const uint8_t *from, Weights *to) {
    for (int part = 0; part < 8; part++)
        _mm512_storeu_si512(to->codes[part], _mm512_loadu_si512(from + 64 * part));
    _mm512_storeu_ps(to->scale, halves(from + 512));
    _mm512_storeu_ps(to->least, _mm512_mul_ps(halves(from + 512), _mm512_set1_ps(-128)));
}

/* Four inputs in every lane. */
INLINE __m512i four(const int8_t *whole) {
    int32_t bits;
    __builtin_memcpy(&bits, whole, 4);
    return _mm512_set1_epi32(bits);
}

INLINE __m512i codes_of(const Weights *weights, int part) {
    return _mm512_loadu_si512(weights->codes[part]);
}

/* One group of some rows and of 16 outputs or twice as many: sums += inputs * weights. */
INLINE void group_of(int rows, int blocks, const Inputs *in, const Weights *weights, long groups,
                     __m512 sums[ROWS][BLOCKS]) {
    __m512i dots[ROWS][BLOCKS];
    for (int row = 0; row < rows; row++) {
        const Inputs *own = in + row * groups;
        const __m512i first = four(own->above[0]), second = four(own->above[1]);
        for (int block = 0; block < blocks; block++) {
            const Weights *w = weights + block * groups;
            __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes_of(w, own->place[0]), first);
            dot = _mm512_dpbusd_epi32(dot, codes_of(w, own->place[1]), second);
            dots[row][block] = _mm512_slli_epi32(dot, ABOVE);
        }
    }
    for (int part = 0; part < FOURS; part++) {
        __m512i codes[BLOCKS];
        for (int block = 0; block < blocks; block++) codes[block] = codes_of(weights + block * groups, part);
        for (int row = 0; row < rows; row++) {
            const __m512i whole = four(in[row * groups].whole + 4 * part);
            for (int block = 0; block < blocks; block++)
                dots[row][block] = _mm512_dpbusd_epi32(dots[row][block], codes[block], whole);
        }
    }
    for (int block = 0; block < blocks; block++) {
        const __m512 scale = _mm512_loadu_ps(weights[block * groups].scale);
        const __m512 least = _mm512_loadu_ps(weights[block * groups].least);
        for (int row = 0; row < rows; row++) {
            const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(in[row * groups].scale));
            sums[row][block] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[row][block]), factor, sums[row][block]);
            sums[row][block] = _mm512_fmadd_ps(least, _mm512_set1_ps(in[row * groups].sum), sums[row][block]);
        }
    }
}

INLINE __mmask16 lanes_of(const Job *job, long output) {
    const long left = job->outputs - output;
    return left < LANES ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
}

INLINE void tile(int rows, int blocks, const Job *job, const Weights *weights, long row, long output) {
    __m512 sums[ROWS][BLOCKS];
    for (int block = 0; block < blocks; block++) {
        const long first = output + block * LANES;
        const __m512 start = job->bias ? _mm512_maskz_loadu_ps(lanes_of(job, first), job->bias + first)
                                       : _mm512_setzero_ps();
        for (int each = 0; each < rows; each++) sums[each][block] = start;
    }
    const Inputs *in = job->inputs + row * job->groups;
    for (long group = 0; group < job->groups; group++)
        group_of(rows, blocks, in + group, weights + group, job->groups, sums);
    for (int block = 0; block < blocks; block++) {
        const long first = output + block * LANES;
        for (int each = 0; each < rows; each++) {
            const long at = (row + each) * job->outputs + first;
            if (job->out_bfloat16)
                _mm256_mask_storeu_epi16((uint16_t *)job->out + at, lanes_of(job, first), rounded(sums[each][block]));
            else
                _mm512_mask_storeu_ps((float *)job->out + at, lanes_of(job, first), sums[each][block]);
        }
    }
}

/* Constants, so that the sums of a tile stay in registers. */
static void tile_of(int rows, int blocks, const Job *job, const Weights *weights, long row, long output) {
#define TILE_OF(COUNT)                                                           \
    case 2 * COUNT: tile(COUNT, 1, job, weights, row, output); break;            \
    case 2 * COUNT + 1: tile(COUNT, 2, job, weights, row, output); break;
    switch (2 * rows + blocks - 1) { TILE_OF(1) TILE_OF(2) TILE_OF(3) TILE_OF(4) TILE_OF(5) TILE_OF(6) }
}

/* The outputs of one or two blocks of 16, of all rows. */
static void blocks_of(const Job *job, long block, int blocks, Weights *unpacked) {
    for (long group = 0; group < blocks * job->groups; group++) {
        const long at = block * job->groups + group;
        if (job->bits == 4)
            unpack4(job->weights + at * BYTES4, unpacked + group);
        else
            unpack8(job->weights + at * BYTES8, unpacked + group);
    }
    for (long row = 0; row < job->rows; row += ROWS)
        tile_of(job->rows - row < ROWS ? (int)(job->rows - row) : ROWS, blocks, job, unpacked, row, block * LANES);
}

static void quantize_rows(const void *given, long first, long end, int member) {
    const Job *job = given;
    for (long at = first * job->groups; at < end * job->groups; at++)
        quantize(job->x, at * GROUP, job->x_bfloat16, job->inputs + at);
    (void)member;
}

static void multiply_blocks(const void *given, long first, long end, int member) {
    const Job *job = given;
    Weights *unpacked = job->unpacked + member * BLOCKS * job->groups;
    for (long block = first; block < end; block += BLOCKS)
        blocks_of(job, block, end - block < BLOCKS ? (int)(end - block) : BLOCKS, unpacked);
}

/* Bytes of scratch for so many rows of so many inputs. */
long sluice_rows_room(long rows, long inputs, int members) {
    return inputs / GROUP * (rows * (long)sizeof(Inputs) + members * BLOCKS * (long)sizeof(Weights));
}

/* out = x * weights + bias. x: [rows, inputs], out: [rows, outputs], bias: [outputs] or null; scratch: as
   sluice_rows_room says. The weights of 16 outputs lie together, group after group. */
void sluice_rows(const void *x, int x_bfloat16, const uint8_t *weights, int bits, const float *bias, void *scratch,
                 void *out, int out_bfloat16, long rows, long inputs, long outputs, Crew *crew) {
    const long groups = inputs / GROUP;
    Job given = {
        .x = x, .weights = weights, .bias = bias, .inputs = scratch, .unpacked = (Weights *)((Inputs *)scratch + rows * groups),
        .out = out, .rows = rows, .outputs = outputs, .groups = groups,
        .bits = bits, .x_bfloat16 = x_bfloat16, .out_bfloat16 = out_bfloat16,
    };
    share_out(crew, quantize_rows, &given, rows, PIECE_ROWS);
    share_out(crew, multiply_blocks, &given, (outputs + LANES - 1) / LANES, BLOCKS);
}
