//go:build cgo

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#include "cpu.h"

#include <immintrin.h>
#include <string.h>

// Products of 8-bit integers with vpdpbusd, which multiplies groups of four unsigned integers with four signed ones. The rows of
// x become such groups, rounded to at most 127 by the largest of the row, plus 128; 128 times the sums of the columns is then
// taken off again. Integers add up exactly, so no order matters.

enum {
	ROWS = 14,       // of a tile: 28 sums, two vectors of weights and one group fit the registers
	DEEPEST = 4096,  // most k at a time: as many bytes as DEEP in f32
};

// quantize stores a row as k bytes (zeros, which are 128, from `in` on), a group every `step` bytes, and returns its scale. A row
// that holds NaN or infinity gets such a scale.
static float quantize(const float *x, int64_t in, int64_t k, uint8_t *out, int64_t step) {
	__m512i most = _mm512_setzero_si512(); // as integers, numbers without sign keep their order, and NaN is above all
	for (int64_t c = 0; c < in; c += 16) most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(x + c), _mm512_set1_epi32(0x7fffffff)));
	int32_t bits = _mm512_reduce_max_epi32(most);
	float highest;
	memcpy(&highest, &bits, sizeof highest);
	int tiny = highest < 1e-30f; // its inverse could be infinite
	__m512 inverse = _mm512_set1_ps(tiny ? 0 : 127 / highest);
	for (int64_t c = 0; c < k; c += 16) {
		__m512i q = c < in ? _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + c), inverse)) : _mm512_setzero_si512();
		uint8_t bytes[16];
		_mm_storeu_si128((__m128i *)bytes, _mm_xor_si128(_mm512_cvtsepi32_epi8(q), _mm_set1_epi8((char)0x80)));
		for (int g = 0; g < 4; g++, out += step) memcpy(out, bytes + 4 * g, 4);
	}
	return tiny ? 0 : highest / 127;
}

// tile computes rows x 32 sums over groups of four k: a is packed [groups][rows][4]; the sums start at -`less`.
static inline __attribute__((always_inline)) void tile(const int rows, const uint8_t *a, const int8_t *b, int64_t groups, const __m512i less[2], __m512i sum[ROWS][2]) {
#pragma GCC unroll 14
	for (int i = 0; i < rows; i++) sum[i][0] = less[0], sum[i][1] = less[1];
	for (int64_t g = 0; g < groups; g++, a += 4 * rows, b += 4 * PANEL) {
		__m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64);
		_mm_prefetch((const char *)b + 12 * 4 * PANEL, _MM_HINT_T0);
		_mm_prefetch((const char *)b + 12 * 4 * PANEL + 64, _MM_HINT_T0);
#pragma GCC unroll 14
		for (int i = 0; i < rows; i++) {
			int32_t group;
			memcpy(&group, a + 4 * i, sizeof group);
			__m512i x = _mm512_set1_epi32(group);
			sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], x, b0);
			sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], x, b1);
		}
	}
}

// finish scales the sums into y, or adds them.
static inline __attribute__((always_inline)) void finish(const int rows, __m512i sum[ROWS][2], const float *row_scales, const float *scales, float *y, int64_t stride, int add) {
#pragma GCC unroll 14
	for (int i = 0; i < rows; i++, y += stride) {
		for (int c = 0; c < 2; c++) {
			__m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][c]), _mm512_mul_ps(_mm512_set1_ps(row_scales[i]), _mm512_loadu_ps(scales + 16 * c)));
			_mm512_storeu_ps(y + 16 * c, add ? _mm512_add_ps(_mm512_loadu_ps(y + 16 * c), v) : v);
		}
	}
}

typedef void (*tile_function)(const uint8_t *, const int8_t *, int64_t, const __m512i *, const float *, const float *, float *, int64_t, int);

#define TILE(rows)                                                                                                                \
	static void tile_##rows(const uint8_t *a, const int8_t *b, int64_t groups, const __m512i *less, const float *row_scales,      \
	                        const float *scales, float *y, int64_t stride, int add) {                                             \
		__m512i sum[ROWS][2];                                                                                                     \
		tile(rows, a, b, groups, less, sum);                                                                                      \
		finish(rows, sum, row_scales, scales, y, stride, add);                                                                    \
	}
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)

static const tile_function tiles[ROWS + 1] = {
	0, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
};

static int64_t tile_start(int64_t rows, int64_t i) { return rows * i / medley_ceil(rows, ROWS); }

static void product(const medley_product *p) {
	int64_t in = medley_narrow_rows(INT8, p->in), count = medley_ceil(p->rows, ROWS);
	uint8_t *packed = (uint8_t *)p->packed;
	float *row_scales = p->packed + BLOCK_ROWS * DEEP;
	for (int64_t first = 0; first < in; first += DEEPEST) {
		int64_t length = medley_min(DEEPEST, in - first);
		for (int64_t i = 0; i < count && (!p->again || in > DEEPEST); i++) {
			int64_t start = tile_start(p->rows, i), rows = tile_start(p->rows, i + 1) - start;
			for (int64_t r = 0; r < rows; r++) {
				const float *x = p->x + (start + r) * p->x_stride + first;
				row_scales[start + r] = quantize(x, medley_min(length, p->x_stride - first), length, packed + start * length + 4 * r, 4 * rows);
			}
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			const int8_t *b = (const int8_t *)p->w + (panel * in + first) * PANEL;
			const uint8_t *a = packed;
			__m512i less[2] = {{0}};
			for (int64_t g = 0; g < length / 4; g++) {
				for (int c = 0; c < 2; c++) less[c] = _mm512_dpbusd_epi32(less[c], _mm512_set1_epi8((char)0x80), _mm512_loadu_si512(b + g * 4 * PANEL + 64 * c));
			}
			for (int c = 0; c < 2; c++) less[c] = _mm512_sub_epi32(_mm512_setzero_si512(), less[c]);
			for (int64_t i = 0; i < count; i++) {
				int64_t start = tile_start(p->rows, i), rows = tile_start(p->rows, i + 1) - start;
				float *y = p->y + start * p->y_stride + (panel - p->panel0) * PANEL;
				tiles[rows](a, b, length / 4, less, row_scales + start, p->scales + panel * PANEL, y, p->y_stride, first > 0);
				a += rows * length;
			}
		}
	}
}

const medley_unit medley_vnni = {"VNNI int8", product, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
