/* bfloat16 and float32 in memory, float32 in registers. */

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 load(const void *from, long index, int bfloat16) {
    if (!bfloat16) return _mm512_loadu_ps((const float *)from + index);
    __m256i halves = _mm256_loadu_si256((const __m256i *)((const uint16_t *)from + index));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* To the nearest bfloat16, ties to even; what is no number stays none. */
INLINE __m256i rounded(__m512 values) {
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 none = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
    up = _mm512_mask_mov_epi32(up, none, _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}
