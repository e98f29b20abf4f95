/* Products with weights in blocks (see quantized.py), for processors with AVX512-VNNI.

   An output is a sum over groups of 32 inputs: weight = scale * code + least, input = a * whole number of 8 bits, so
   sum(weight * input) = scale * a * sum(code * whole) + least * a * sum(whole): whole numbers inside a group, float
   between groups. Where it is asked to be precise an input has a second whole number of 8 bits, in units of a / 254,
   and is thereby finer than bfloat16. 16 outputs lie in the lanes of a register; a tile of up to 8 rows shares what
   is unpacked. */

#include "crew.h"
#include "numbers.h"

enum { GROUP = 32, LANES = 16, TILE = 8, BYTES4 = 320, BYTES8 = 544, AHEAD = 6144 };
#define FINE (1.0f / 254)

/* What a piece has at least: some microseconds of work. */
enum { LEAST_GROUPS = 96, LEAST_BYTES = 64 << 10 };

typedef struct {
    int8_t whole[GROUP], fine[GROUP]; /* input = scale * (whole + fine / 254) */
    float scale, sum;                 /* sum: of the inputs as quantised */
    int32_t whole_sum, fine_sum;
} Inputs;
_Static_assert(sizeof(Inputs) == 80, "whole.c and products.py make room for it by this size");

INLINE void store(void *to, long index, __m512 values, __mmask16 lanes, int bfloat16) {
    if (bfloat16)
        _mm256_mask_storeu_epi16((uint16_t *)to + index, lanes, rounded(values));
    else
        _mm512_mask_storeu_ps((float *)to + index, lanes, values);
}

/* Writes 32 whole numbers and returns their sum. */
INLINE int32_t write(__m512i low, __m512i high, int8_t *to) {
    _mm_storeu_si128((__m128i *)to, _mm512_cvtsepi32_epi8(low));
    _mm_storeu_si128((__m128i *)(to + 16), _mm512_cvtsepi32_epi8(high));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
}

/* What rounding left over, in units of 1 / 254. */
INLINE __m512i left_over(__m512 values, __m512i whole) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(values, _mm512_cvtepi32_ps(whole)), _mm512_set1_ps(254)));
}

static void quantize(const void *x, long index, int bfloat16, int precise, Inputs *out) {
    __m512 first = load(x, index, bfloat16), second = load(x, index + 16, bfloat16);
    float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(first), _mm512_abs_ps(second)));
    if (_mm512_cmp_ps_mask(first, second, _CMP_UNORD_Q)) top = __builtin_nanf("");
    __m512 factor = _mm512_set1_ps(top > 1e-30f ? 127.0f / top : 0.0f);
    first = _mm512_mul_ps(first, factor), second = _mm512_mul_ps(second, factor);
    __m512i low = _mm512_cvtps_epi32(first), high = _mm512_cvtps_epi32(second);
    out->whole_sum = write(low, high, out->whole);
    out->fine_sum = precise ? write(left_over(first, low), left_over(second, high), out->fine) : 0;
    out->scale = top / 127.0f;
    out->sum = out->scale * ((float)out->whole_sum + (float)out->fine_sum * FINE);
}

/* Four inputs in every lane. */
INLINE __m512i four(const int8_t *whole) {
    int32_t bits;
    __builtin_memcpy(&bits, whole, 4);
    return _mm512_set1_epi32(bits);
}

INLINE __m512 halves(const uint8_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

/* Fetch what is needed some groups later. At 8 rows, where computing a group takes as long as its way from memory, this
   makes the logits' product of the default model take 1.4 ms instead of 3.8 on one thread, the others two thirds. For one
   row, 6 KiB ahead all products take 3.4 ms, 4 KiB ahead 4.5. */
INLINE void fetch_ahead(const uint8_t *weights, int bytes) {
    for (int line = 0; line < bytes; line += 64) _mm_prefetch(weights + line + AHEAD, _MM_HINT_T1);
}

/* A quarter of a group's codes: of inputs 4 part ... and 16 + 4 part ... */
INLINE void codes_of(int bits, const uint8_t *weights, int part, __m512i codes[2]) {
    codes[0] = _mm512_loadu_si512(weights + 64 * part);
    if (bits == 8) {
        codes[1] = _mm512_loadu_si512(weights + 256 + 64 * part);
    } else {
        codes[1] = _mm512_and_si512(_mm512_srli_epi16(codes[0], 4), _mm512_set1_epi8(15));
        codes[0] = _mm512_and_si512(codes[0], _mm512_set1_epi8(15));
    }
}

INLINE __m512i add_dots(__m512i sum, const __m512i codes[2], const int8_t *numbers) {
    sum = _mm512_dpbusd_epi32(sum, codes[0], four(numbers));
    return _mm512_dpbusd_epi32(sum, codes[1], four(numbers + 16));
}

/* One group. 4 bits: 4 x 64 bytes of codes, inputs 0-15 in the low halves and 16-31 in the high, 16 scales, 16 leasts.
   8 bits: 8 x 64 bytes of codes, 128 added to each, and 16 scales. All rows meet a part of the codes before the next
   one is read, so that their sums, and nothing else, stay in registers. */
INLINE void add_group(int rows, int bits, int precise, const Inputs *in, int groups, const uint8_t *weights,
                      __m512 *sums) {
    const int offset = bits == 8 ? 128 : 0;
    __m512i whole[TILE], fine[TILE], codes[2];
    fetch_ahead(weights, bits == 4 ? BYTES4 : BYTES8);
    for (int row = 0; row < rows; row++) {
        /* Of an infinite input it is beyond an int. */
        whole[row] = _mm512_set1_epi32((int)(-offset * (long)in[row * groups].whole_sum));
        fine[row] = _mm512_set1_epi32(-offset * in[row * groups].fine_sum);
    }
    for (int part = 0; part < 4; part++) {
        codes_of(bits, weights, part, codes);
        for (int row = 0; row < rows; row++) {
            whole[row] = add_dots(whole[row], codes, in[row * groups].whole + 4 * part);
            if (precise) fine[row] = add_dots(fine[row], codes, in[row * groups].fine + 4 * part);
        }
    }
    const __m512 scale = halves(weights + (bits == 4 ? 256 : 512));
    for (int row = 0; row < rows; row++, in += groups) {
        __m512 dotted = _mm512_cvtepi32_ps(whole[row]); /* in units of the inputs' scale */
        if (precise) dotted = _mm512_fmadd_ps(_mm512_cvtepi32_ps(fine[row]), _mm512_set1_ps(FINE), dotted);
        sums[row] = _mm512_fmadd_ps(dotted, _mm512_mul_ps(scale, _mm512_set1_ps(in->scale)), sums[row]);
        if (bits == 4) sums[row] = _mm512_fmadd_ps(halves(weights + 288), _mm512_set1_ps(in->sum), sums[row]);
    }
}

INLINE void tile(int rows, int bits, int precise, const Inputs *in, int groups, const uint8_t *weights, __m512 *out) {
    __m512 sums[TILE];
    for (int row = 0; row < rows; row++) sums[row] = out[row];
    for (int group = 0; group < groups; group++, in++)
        add_group(rows, bits, precise, in, groups, weights + (long)group * (bits == 4 ? BYTES4 : BYTES8), sums);
    for (int row = 0; row < rows; row++) out[row] = sums[row];
}

/* Rows, bits and precision as constants, so that the sums of a tile stay in registers. */
#define TILE_OF(ROWS, BITS, PRECISE) \
    case ROWS: tile(ROWS, BITS, PRECISE, in, groups, weights, sums); break;
#define TILES(NAME, BITS, PRECISE)                                                                          \
    static void NAME(int rows, const Inputs *in, int groups, const uint8_t *weights, __m512 *sums) {        \
        switch (rows) {                                                                                     \
            TILE_OF(1, BITS, PRECISE) TILE_OF(2, BITS, PRECISE) TILE_OF(3, BITS, PRECISE)                   \
            TILE_OF(4, BITS, PRECISE) TILE_OF(5, BITS, PRECISE) TILE_OF(6, BITS, PRECISE)                   \
            TILE_OF(7, BITS, PRECISE) TILE_OF(8, BITS, PRECISE)                                             \
        }                                                                                                   \
    }
TILES(tile4, 4, 0)
TILES(tile8, 8, 0)
TILES(precise4, 4, 1)
TILES(precise8, 8, 1)

typedef struct {
    const void *x;
    const uint8_t *weights;
    const float *bias;
    Inputs *inputs;
    void *out;
    long rows, outputs, lane_bytes;
    void (*tiled)(int, const Inputs *, int, const uint8_t *, __m512 *);
    int x_bfloat16, out_bfloat16, precise, groups;
} Product;

static void sixteen(const Product *p, long first) {
    const long left = p->outputs - first;
    const __mmask16 lanes = left < LANES ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
    const __m512 start = p->bias ? _mm512_maskz_loadu_ps(lanes, p->bias + first) : _mm512_setzero_ps();
    for (long row = 0; row < p->rows; row += TILE) {
        int count = p->rows - row < TILE ? (int)(p->rows - row) : TILE;
        __m512 sums[TILE];
        for (int each = 0; each < count; each++) sums[each] = start;
        p->tiled(count, p->inputs + row * p->groups, p->groups, p->weights + first / LANES * p->lane_bytes, sums);
        for (int each = 0; each < count; each++)
            store(p->out, (row + each) * p->outputs + first, sums[each], lanes, p->out_bfloat16);
    }
}

static void quantize_rows(const void *given, long first, long end, int member) {
    const Product *p = given;
    for (long at = first * p->groups; at < end * p->groups; at++)
        quantize(p->x, at * GROUP, p->x_bfloat16, p->precise, p->inputs + at);
    (void)member;
}

static void multiply_lanes(const void *given, long first, long end, int member) {
    for (long lane = first; lane < end; lane++) sixteen(given, lane * LANES);
    (void)member;
}

/* out = x * weights + bias. x: [rows, inputs], out: [rows, outputs], bias: [outputs] or null; scratch holds
   rows * inputs / 32 of Inputs. The weights of 16 outputs lie together, group after group. */
void sluice_product(const void *x, int x_bfloat16, const uint8_t *weights, int bits, const float *bias,
                    Inputs *scratch, void *out, int out_bfloat16, long rows, long inputs, long outputs,
                    int precise, Crew *crew) {
    const int groups = (int)(inputs / GROUP);
    Product given = {
        .x = x, .weights = weights, .bias = bias, .inputs = scratch, .out = out,
        .rows = rows, .outputs = outputs,
        .lane_bytes = (long)groups * (bits == 4 ? BYTES4 : BYTES8),
        .tiled = bits == 4 ? (precise ? precise4 : tile4) : (precise ? precise8 : tile8),
        .x_bfloat16 = x_bfloat16, .out_bfloat16 = out_bfloat16, .precise = precise, .groups = groups,
    };
    share_out(crew, quantize_rows, &given, rows, piece_of(groups, LEAST_GROUPS));
    share_out(crew, multiply_lanes, &given, (outputs + LANES - 1) / LANES, piece_of(given.lane_bytes, LEAST_BYTES));
}
