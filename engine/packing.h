/* Keys and values from pages into words, block by block, as prompts.c multiplies them. A word is a float32, or where
   `pairs` is set two bfloat16: neighbours of a key, or the values of two tokens. */

#include "transpose.h"

enum { LANES = 16, BLOCK = 64, PARTS = BLOCK / LANES };

typedef struct {
    const char *keys, *values; /* of one head: [pages, page_tokens, dim] */
    const int32_t *pages;      /* that the row holds */
    long page_tokens, dim;
    int bfloat16;
} Pages;

INLINE long place(const Pages *p, long token) {
    return ((long)p->pages[token / p->page_tokens] * p->page_tokens + token % p->page_tokens) * p->dim;
}

/* packed[step][key] of the block from token `block` on; nothing is read from token `end` on. */
INLINE void pack_keys(const Pages *p, long block, long end, int pairs, uint32_t *packed) {
    const long elements = pairs ? 2 * LANES : LANES;
    for (int lanes = 0; lanes < PARTS; lanes++)
        for (long at = 0; at < p->dim; at += elements) {
            __m512i words[LANES];
            for (int key = 0; key < LANES; key++) {
                const long token = block + lanes * LANES + key;
                words[key] = _mm512_setzero_si512();
                if (token >= end) continue;
                const long from = place(p, token) + at;
                words[key] = pairs ? _mm512_loadu_si512((const uint16_t *)p->keys + from)
                                   : _mm512_castps_si512(load(p->keys, from, p->bfloat16));
            }
            transpose(words);
            uint32_t *to = packed + at / elements * LANES * BLOCK + lanes * LANES;
            for (int step = 0; step < LANES; step++) _mm512_storeu_si512(to + step * BLOCK, words[step]);
        }
}

INLINE __m512i halves_of(const Pages *p, long token, long at, long end) {
    if (token >= end) return _mm512_setzero_si512();
    const uint16_t *from = (const uint16_t *)p->values + place(p, token) + at;
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
}

/* packed[step][place in the head]; pairs are of two tokens. */
INLINE void pack_values(const Pages *p, long block, long end, int pairs, uint32_t *packed) {
    const long tokens = pairs ? 2 : 1;
    for (long step = 0; step < BLOCK / tokens; step++)
        for (long at = 0; at < p->dim; at += LANES) {
            const long token = block + step * tokens;
            __m512i words = _mm512_setzero_si512();
            if (pairs)
                words = _mm512_or_si512(halves_of(p, token, at, end),
                                        _mm512_slli_epi32(halves_of(p, token + 1, at, end), 16));
            else if (token < end)
                words = _mm512_castps_si512(load(p->values, place(p, token) + at, p->bfloat16));
            _mm512_storeu_si512(packed + step * p->dim + at, words);
        }
}
