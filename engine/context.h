/* What the attention of decoding rows reads: the tokens of one head, page after page, 32 values at a time. */

enum { LANES = 16 };

/* 32 values as two registers: bfloat16 by even and odd places, which takes half of what it takes in order, float32 by
   halves. */
INLINE void load_two(const char *from, int bfloat16, __m512 two[2]) {
    if (bfloat16) {
        __m512i both = _mm512_loadu_si512(from);
        two[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        two[1] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
    } else {
        two[0] = _mm512_loadu_ps((const float *)from);
        two[1] = _mm512_loadu_ps((const float *)from + LANES);
    }
}

INLINE void store_two(char *to, int bfloat16, const __m512 two[2]) {
    if (bfloat16) {
        __m512i even = _mm512_cvtepu16_epi32(rounded(two[0])), odd = _mm512_cvtepu16_epi32(rounded(two[1]));
        _mm512_storeu_si512(to, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    } else {
        _mm512_storeu_ps((float *)to, two[0]);
        _mm512_storeu_ps((float *)to + LANES, two[1]);
    }
}

/* Floats in order, put as load_two puts what they meet. */
INLINE void arrange(float *values, long count, int bfloat16) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (long at = 0; bfloat16 && at < count; at += 2 * LANES) {
        __m512 first = _mm512_loadu_ps(values + at), second = _mm512_loadu_ps(values + at + LANES);
        _mm512_storeu_ps(values + at, _mm512_permutex2var_ps(first, even, second));
        _mm512_storeu_ps(values + at + LANES, _mm512_permutex2var_ps(first, odd, second));
    }
}

typedef struct {
    const char *keys, *values; /* of one head: [pages, page_tokens, dim] */
    const int32_t *pages;      /* that the row holds */
    long page_tokens, dim, low, end; /* tokens low ... end - 1 are seen */
    int bfloat16;
} Context;

/* Bytes of a token. */
INLINE long token_bytes(const Context *context) { return context->dim * (context->bfloat16 ? 2 : 4); }

/* Tokens that lie one after the other: those of a page that are seen. */
typedef struct {
    long token, end; /* in the context */
    long place;      /* of the first, in bytes from the head's first page on */
    long next;       /* where the page after it begins, or this one's place again */
} Run;

INLINE Run run_at(const Context *context, long token) {
    const long page = token / context->page_tokens, first = page * context->page_tokens;
    const long after = first + context->page_tokens, page_bytes = context->page_tokens * token_bytes(context);
    const long place = context->pages[page] * page_bytes + (token - first) * token_bytes(context);
    return (Run){token, after < context->end ? after : context->end, place,
                 after < context->end ? context->pages[page + 1] * page_bytes : place};
}

INLINE void fetch(const char *from, long bytes) {
    for (long line = 0; line < bytes; line += 64) _mm_prefetch(from + line, _MM_HINT_T0);
}
