/* Sixteen vectors of sixteen words: rows become columns. */
INLINE void transpose(__m512i rows[16]) {
    __m512i other[16];
    for (int n = 0; n < 16; n += 2) {
        other[n] = _mm512_unpacklo_epi32(rows[n], rows[n + 1]);
        other[n + 1] = _mm512_unpackhi_epi32(rows[n], rows[n + 1]);
    }
    for (int n = 0; n < 16; n += 4) {
        rows[n] = _mm512_unpacklo_epi64(other[n], other[n + 2]);
        rows[n + 1] = _mm512_unpackhi_epi64(other[n], other[n + 2]);
        rows[n + 2] = _mm512_unpacklo_epi64(other[n + 1], other[n + 3]);
        rows[n + 3] = _mm512_unpackhi_epi64(other[n + 1], other[n + 3]);
    }
    for (int n = 0; n < 4; n++) {
        other[n] = _mm512_shuffle_i32x4(rows[n], rows[n + 4], 0x88);
        other[n + 4] = _mm512_shuffle_i32x4(rows[n], rows[n + 4], 0xdd);
        other[n + 8] = _mm512_shuffle_i32x4(rows[n + 8], rows[n + 12], 0x88);
        other[n + 12] = _mm512_shuffle_i32x4(rows[n + 8], rows[n + 12], 0xdd);
    }
    for (int n = 0; n < 8; n++) {
        rows[n] = _mm512_shuffle_i32x4(other[n], other[n + 8], 0x88);
        rows[n + 8] = _mm512_shuffle_i32x4(other[n], other[n + 8], 0xdd);
    }
}
