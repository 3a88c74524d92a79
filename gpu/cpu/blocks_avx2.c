//go:build cgo

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#pragma GCC optimize("no-tree-ter") // which puts off sums until the registers do not hold what they are of
#endif

#include <immintrin.h>
#include <stdint.h>

#define VL 8
#define ROWS 4
typedef int32_t I __attribute__((vector_size(32)));
typedef float F __attribute__((vector_size(32)));

#define DOT(sum, a, b) ((sum) + (I)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
// BYTES are the even or odd bytes of words, as integers of 16 bits.
#define BYTES(word, odd) ((I)_mm256_srai_epi16((odd) ? (__m256i)(word) : _mm256_slli_epi16((__m256i)(word), 8), 8))

static inline __attribute__((always_inline)) void HALVES(const char *from, F *scale, F *offset) {
	const __m256i order = _mm256_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0, 15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
	__m256i apart = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)from), order), 0xd8);
	*scale = (F)_mm256_cvtph_ps(_mm256_castsi256_si128(apart));
	*offset = (F)_mm256_cvtph_ps(_mm256_extracti128_si256(apart, 1));
}

#include "blocks.h"

const medley_unit medley_blocks_avx2 = {"AVX2", product, NULL, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
