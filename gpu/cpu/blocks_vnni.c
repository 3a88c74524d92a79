//go:build cgo

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")
#endif

#include "cpu.h"

#include <immintrin.h>
#include <string.h>

// Products with weights in blocks of small integers, with vpdpbusd, which multiplies groups of four unsigned integers of 8 bits with
// four signed ones. The rows of x become integers below 2^22, with a scale for every 32 of them, in three digits of 8 bits: as exact as
// f32, where fewer digits would show in logits. A digit's sum over a block is exact; the three are put together, scaled, and added to those of the
// blocks before. So a row's result does not depend on its neighbours.

enum {
	DIGITS = 3,
	GROUPS = BLOCK / 4,
	MOST = (1 << 22) - 1, // the largest integer
	DEEPEST = 1056,       // most k at a time: BLOCK_ROWS rows of it fill PACKED_FLOATS
	AHEAD = 2,            // blocks of weights to fetch ahead
};

// row_block is 32 numbers of a row: by digits, the least first, in groups as the weights' words hold them.
typedef struct {
	int32_t digit[DIGITS][GROUPS];
	int32_t start[DIGITS]; // what the sums start at: unsigned weights of 8 bits are 128 too large
	float scale, sum;
} row_block;

_Static_assert(sizeof(row_block) * (DEEPEST / BLOCK) * BLOCK_ROWS <= sizeof(float) * PACKED_FLOATS, "rows in blocks fit the scratch of a product");

#define INLINE static inline __attribute__((always_inline))

// spread turns 32 numbers into digits. A block that holds NaN or infinity gets such a scale.
INLINE void spread(const int64_t storage, const float *x, row_block *to) {
	const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
	__m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
	// As integers, numbers without sign keep their order, and NaN is above all.
	int32_t bits = _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_and_si512((__m512i)low, magnitude), _mm512_and_si512((__m512i)high, magnitude)));
	float highest;
	memcpy(&highest, &bits, sizeof highest);
	int tiny = highest < 1e-30f; // its inverse could be infinite
	__m512 inverse = _mm512_set1_ps(tiny ? 0 : MOST / highest);
	to->scale = tiny ? 0 : highest / MOST;
	to->sum = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
	__m512i half[2] = {_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)), _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse))};
	// Of four bits, the groups are the even and the odd numbers of every eight.
	const __m256i apart = _mm256_set_epi8(15, 13, 11, 9, 14, 12, 10, 8, 7, 5, 3, 1, 6, 4, 2, 0, 15, 13, 11, 9, 14, 12, 10, 8, 7, 5, 3, 1, 6, 4, 2, 0);
	for (int d = 0; d < DIGITS; d++) {
		__m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(half[1]), _mm512_cvtepi32_epi8(half[0])); // the lowest 8 bits of each
		for (int h = 0; h < 2; h++) {
			__m512i digit = _mm512_srai_epi32(_mm512_slli_epi32(half[h], 24), 24);
			half[h] = _mm512_srai_epi32(_mm512_sub_epi32(half[h], digit), 8);
		}
		to->start[d] = 0;
		if (storage == BLOCKS4) bytes = _mm256_shuffle_epi8(bytes, apart);
		_mm256_storeu_si256((__m256i *)to->digit[d], bytes);
		if (storage == BLOCKS8) {
			__m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes);
			to->start[d] = -128 * _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sums));
		}
	}
}

// block is one block of a panel of weights, half a panel in a vector.
typedef struct {
	__m512i group[GROUPS][2];
	__m512 scale[2], offset[2];
} block;

INLINE block unpack(const int64_t storage, const char *w) {
	block b;
	const __m512i *words = (const __m512i *)(w + 4 * PANEL), nibbles = _mm512_set1_epi8(15);
	for (int c = 0; c < 2; c++) {
		__m512i pair = _mm512_loadu_si512((const __m512i *)w + c);
		b.scale[c] = (__m512)pair;
		if (storage == BLOCKS8) {
#pragma GCC unroll 8
			for (int g = 0; g < GROUPS; g++) b.group[g][c] = _mm512_xor_si512(_mm512_loadu_si512(words + 2 * g + c), _mm512_set1_epi8((char)0x80));
			continue;
		}
		const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
		pair = _mm512_permutexvar_epi16(order, pair);
		b.scale[c] = _mm512_cvtph_ps(_mm512_castsi512_si256(pair));
		b.offset[c] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(pair, 1));
#pragma GCC unroll 4
		for (int g = 0; g < GROUPS; g += 2) {
			__m512i word = _mm512_loadu_si512(words + g + c);
			b.group[g][c] = _mm512_and_si512(word, nibbles);
			b.group[g + 1][c] = _mm512_and_si512(_mm512_srli_epi32(word, 4), nibbles);
		}
	}
	return b;
}

// multiply adds one block of every row to y, or sets y to it.
INLINE void multiply(const int64_t storage, const char *w, const row_block *x, int64_t rows, float *y, int64_t stride, int add) {
	block b = unpack(storage, w);
	for (int64_t r = 0; r < rows; r++, x++, y += stride) {
		__m512i sum[DIGITS][2];
#pragma GCC unroll 3
		for (int d = 0; d < DIGITS; d++) {
			sum[d][0] = sum[d][1] = storage == BLOCKS8 ? _mm512_set1_epi32(x->start[d]) : _mm512_setzero_si512();
		}
#pragma GCC unroll 8
		for (int g = 0; g < GROUPS; g++) {
#pragma GCC unroll 3
			for (int d = 0; d < DIGITS; d++) {
				__m512i digit = _mm512_set1_epi32(x->digit[d][g]);
				sum[d][0] = _mm512_dpbusd_epi32(sum[d][0], b.group[g][0], digit);
				sum[d][1] = _mm512_dpbusd_epi32(sum[d][1], b.group[g][1], digit);
			}
		}
#pragma GCC unroll 2
		for (int c = 0; c < 2; c++) {
			__m512 high = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(sum[2][c], 8), sum[1][c]));
			__m512 all = _mm512_fmadd_ps(high, _mm512_set1_ps(256), _mm512_cvtepi32_ps(sum[0][c]));
			__m512 before = add ? _mm512_loadu_ps(y + 16 * c) : _mm512_setzero_ps();
			__m512 total = _mm512_fmadd_ps(all, _mm512_mul_ps(b.scale[c], _mm512_set1_ps(x->scale)), before);
			if (storage == BLOCKS4) total = _mm512_fmadd_ps(b.offset[c], _mm512_set1_ps(x->sum), total);
			_mm512_storeu_ps(y + 16 * c, total);
		}
	}
}

INLINE void multiply_panel(const int64_t storage, const char *w, int64_t blocks, const row_block *x, int64_t rows, float *y, int64_t stride, int add) {
	int64_t bytes = medley_block_bytes(storage);
	for (int64_t b = 0; b < blocks; b++, w += bytes, x += rows) {
		for (int64_t line = 0; line < bytes; line += 64) _mm_prefetch(w + AHEAD * bytes + line, _MM_HINT_T0);
		multiply(storage, w, x, rows, y, stride, add || b > 0);
	}
}

static void product(const medley_product *p) {
	int64_t bytes = medley_block_bytes(p->storage);
	row_block *packed = (row_block *)p->packed; // [blocks][rows]
	for (int64_t first = 0; first < p->in; first += DEEPEST) {
		int64_t blocks = medley_min(DEEPEST, p->in - first) / BLOCK;
		for (int64_t b = 0; b < blocks && (!p->again || p->in > DEEPEST); b++) {
			for (int64_t r = 0; r < p->rows; r++) {
				const float *x = p->x + r * p->x_stride + first + b * BLOCK;
				if (p->storage == BLOCKS8) spread(BLOCKS8, x, packed + b * p->rows + r);
				else spread(BLOCKS4, x, packed + b * p->rows + r);
			}
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			const char *w = (const char *)p->w + (panel * (p->in / BLOCK) + first / BLOCK) * bytes;
			float *y = p->y + (panel - p->panel0) * PANEL;
			if (p->storage == BLOCKS8) multiply_panel(BLOCKS8, w, blocks, packed, p->rows, y, p->y_stride, first > 0);
			else multiply_panel(BLOCKS4, w, blocks, packed, p->rows, y, p->y_stride, first > 0);
		}
	}
}

const medley_unit medley_blocks_vnni = {"VNNI", product, NULL, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
