//go:build cgo

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")
#endif

#include <immintrin.h>
#include <stdint.h>

#define VL 16
#define ROWS 6
typedef int32_t I __attribute__((vector_size(64)));
typedef float F __attribute__((vector_size(64)));

#define DOT(sum, a, b) ((I)_mm512_dpwssd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
// BYTES are the even or odd bytes of words, as integers of 16 bits.
#define BYTES(word, odd) ((I)_mm512_srai_epi16((odd) ? (__m512i)(word) : _mm512_slli_epi16((__m512i)(word), 8), 8))

static inline __attribute__((always_inline)) void HALVES(const char *from, F *scale, F *offset) {
	const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
	__m512i apart = _mm512_permutexvar_epi16(order, _mm512_loadu_si512(from));
	*scale = (F)_mm512_cvtph_ps(_mm512_castsi512_si256(apart));
	*offset = (F)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(apart, 1));
}

#include "blocks.h"

const medley_unit medley_blocks_vnni = {"VNNI", product, NULL, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
