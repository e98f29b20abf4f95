/* What the attention of decoding rows (between.c) and of prompts (prompts.c) share. */

INLINE void store(void *to, long index, __m512 values, int bfloat16) {
    if (bfloat16)
        _mm256_storeu_si256((__m256i *)((uint16_t *)to + index), rounded(values));
    else
        _mm512_storeu_ps((float *)to + index, values);
}

/* e to the power of x, of -87 if x is less: 2^n times a polynomial of the rest (Cephes' coefficients). */
INLINE __m512 power(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x); /* in this order what is no number stays none */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.3981999507e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(8.3334519073e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(4.1665795894e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.6666665459e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.0000001201e-1f));
    sum = _mm512_fmadd_ps(sum, _mm512_mul_ps(rest, rest), _mm512_add_ps(rest, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(sum, n);
}

/* Turned by the row's cos and sin, both [dim], the first half of sin negative; times scale. */
INLINE void turn(const void *x, long first, long dim, const float *cos, const float *sin, float scale, int bfloat16,
                 float *out) {
    for (long at = 0; at < dim; at += 16) {
        __m512 value = load(x, first + at, bfloat16);
        if (cos) {
            __m512 other = load(x, first + (at + dim / 2) % dim, bfloat16);
            value = _mm512_mul_ps(value, _mm512_loadu_ps(cos + at));
            value = _mm512_fmadd_ps(other, _mm512_loadu_ps(sin + at), value);
        }
        _mm512_storeu_ps(out + at, _mm512_mul_ps(value, _mm512_set1_ps(scale)));
    }
}
