//go:build cgo

#if defined(__linux__) && defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,prfchw,amx-tile,amx-bf16,amx-int8"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,prfchw")
#endif

#include "amx.h"

#include <immintrin.h>
#include <string.h>

// The compiler's own intrinsics do not say which memory they touch (gcc 12), so stores before them may be dropped.
#define LOAD(tile, at, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(at), "r"((int64_t)(stride)) : "memory")
#define STORE(tile, at, stride) __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(at), "r"((int64_t)(stride)) : "memory")
#define ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
#define DOT(kind, b, a, c) __asm__ volatile(kind " %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

void amx_open(void) {
	struct {
		uint8_t palette, start, reserved[14];
		uint16_t bytes[16];
		uint8_t rows[16];
	} config = {.palette = 1};
	for (int i = 0; i < 8; i++) config.bytes[i] = HALF_BYTES, config.rows[i] = TILE_ROWS;
	__asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
}

void amx_close(void) { __asm__ volatile("tilerelease" : : : "memory"); }

// The tiles: results 0 to 3 (top left, top right, bottom left, bottom right), left factor 4 and 5, right factor 6 and 7.
#define ACCUMULATE(kind)                                                                              \
	for (int64_t s = 0; s < steps; s++, a += TILE_BYTES, b0 += step, b1 += step) {                  \
		LOAD(4, a, HALF_BYTES);                                                                     \
		LOAD(6, b0, b->stride);                                                                     \
		DOT(kind, 6, 4, 0);                                                                         \
		LOAD(7, b1, b->stride);                                                                     \
		DOT(kind, 7, 4, 1);                                                                         \
		if (down < 2) continue;                                                                     \
		LOAD(5, a + pitch, HALF_BYTES);                                                             \
		DOT(kind, 6, 5, 2);                                                                         \
		DOT(kind, 7, 5, 3);                                                                         \
	}

// tiles computes 16 · down x 32 results, of bf16 or int8 (into int32); bytes from one row of y to the next.
static inline __attribute__((always_inline)) void tiles(const int down, const int whole, const char *a, int64_t pitch, int64_t steps, const amx_panel *b, char *y, int64_t bytes, int add) {
	const char *b0 = b->half[0], *b1 = b->half[1];
	int64_t step = TILE_ROWS * b->stride, below = TILE_ROWS * bytes;
	for (int i = 0; i < TILE_ROWS * down; i++) { // by the time the sums are done, their lines are here
		__builtin_prefetch(y + i * bytes, 1);
		__builtin_prefetch(y + i * bytes + HALF_BYTES, 1);
	}
	if (add) {
		LOAD(0, y, bytes);
		LOAD(1, y + HALF_BYTES, bytes);
		if (down > 1) LOAD(2, y + below, bytes);
		if (down > 1) LOAD(3, y + below + HALF_BYTES, bytes);
	} else {
		ZERO(0);
		ZERO(1);
		ZERO(2);
		ZERO(3);
	}
	if (whole) {
		ACCUMULATE("tdpbssd")
	} else {
		ACCUMULATE("tdpbf16ps")
	}
	STORE(0, y, bytes);
	STORE(1, y + HALF_BYTES, bytes);
	if (down > 1) STORE(2, y + below, bytes);
	if (down > 1) STORE(3, y + below + HALF_BYTES, bytes);
}

static void copy_rows(const float *from, int64_t from_stride, int64_t rows, float *to, int64_t to_stride) {
	for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_stride, from + r * from_stride, PANEL * sizeof(float));
}

void amx_multiply(const char *a, int64_t pitch, int64_t rows, int64_t steps, const amx_panel *b, float *y, int64_t stride, int add) {
	for (; rows >= 2 * TILE_ROWS; rows -= 2 * TILE_ROWS, a += 2 * pitch, y += 2 * TILE_ROWS * stride) {
		tiles(2, 0, a, pitch, steps, b, (char *)y, stride * (int64_t)sizeof(float), add);
	}
	if (rows == 0) return;
	// The last rows go through a buffer, as tiles are stored whole.
	float buffer[2 * TILE_ROWS * PANEL] __attribute__((aligned(64)));
	if (add) copy_rows(y, stride, rows, buffer, PANEL);
	if (rows > TILE_ROWS) tiles(2, 0, a, pitch, steps, b, (char *)buffer, PANEL * sizeof(float), add);
	else tiles(1, 0, a, pitch, steps, b, (char *)buffer, PANEL * sizeof(float), add);
	copy_rows(buffer, PANEL, rows, y, stride);
}

void amx_pack(const float *x, int64_t stride, int64_t rows, int64_t k, char *packed) {
	int64_t padded = medley_ceil(rows, TILE_ROWS) * TILE_ROWS, pitch = k / 32 * TILE_BYTES;
	for (int64_t r = 0; r < padded; r++) {
		char *to = packed + r / TILE_ROWS * pitch + r % TILE_ROWS * HALF_BYTES;
		for (int64_t c = 0; c < k; c += 32, to += TILE_BYTES) {
			if (r < rows) {
				const float *from = x + r * stride + c;
				_mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from)));
			} else {
				_mm512_store_si512(to, _mm512_setzero_si512());
			}
		}
	}
}

enum { AMX_DEPTH = 256 }; // k of one walk over the panels; a panel of it stays in L1

static void product_bfloat16(const medley_product *p) {
	int64_t in = medley_narrow_rows(BFLOAT16, p->in);
	char *packed = (char *)p->packed;
	amx_open();
	for (int64_t first = 0; first < in; first += AMX_DEEP) {
		int64_t length = medley_min(AMX_DEEP, in - first), pitch = length / 32 * TILE_BYTES;
		if (!p->again || in > AMX_DEEP) amx_pack(p->x + first, p->x_stride, p->rows, length, packed);
		for (int64_t k = 0; k < length; k += AMX_DEPTH) {
			for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
				const char *at = (const char *)p->w + (panel * in + first + k) * PANEL * 2;
				amx_panel b = {{at, at + HALF_BYTES}, 2 * HALF_BYTES};
				float *y = p->y + (panel - p->panel0) * PANEL;
				amx_multiply(packed + k / 32 * TILE_BYTES, pitch, p->rows, medley_min(AMX_DEPTH, length - k) / 32, &b, y, p->y_stride, first + k > 0);
			}
		}
	}
	amx_close();
}

// pack_int8 stores rows of x as tiles of integers of at most 127, k of them with zeros from `in` on, and the scale of each row.
// A row that holds NaN or infinity gets such a scale.
static void pack_int8(const float *x, int64_t stride, int64_t rows, int64_t in, int64_t k, char *packed, float *scales) {
	int64_t pitch = k / 64 * TILE_BYTES;
	memset(packed, 0, (size_t)(medley_ceil(rows, TILE_ROWS) * pitch));
	for (int64_t r = 0; r < rows; r++) {
		const float *from = x + r * stride;
		__m512i most = _mm512_setzero_si512(); // as integers, numbers without sign keep their order, and NaN is above all
		for (int64_t c = 0; c < in; c += 16) {
			most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(from + c), _mm512_set1_epi32(0x7fffffff)));
		}
		int32_t bits = _mm512_reduce_max_epi32(most);
		float highest;
		memcpy(&highest, &bits, sizeof highest);
		int tiny = highest < 1e-30f; // its inverse could be infinite
		__m512 inverse = _mm512_set1_ps(tiny ? 0 : 127 / highest);
		scales[r] = tiny ? 0 : highest / 127;
		char *to = packed + r / TILE_ROWS * pitch + r % TILE_ROWS * HALF_BYTES;
		for (int64_t c = 0; c < in; c += 16) {
			__m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + c), inverse));
			_mm_storeu_si128((__m128i *)(to + c / 64 * TILE_BYTES + c % 64), _mm512_cvtsepi32_epi8(q));
		}
	}
}

static void product_int8(const medley_product *p) {
	enum { DEEPEST = 2 * AMX_DEEP };
	int64_t in = medley_narrow_rows(INT8, p->in);
	char *packed = (char *)p->packed;
	float *rows_scales = p->packed + BLOCK_ROWS * DEEP;
	int32_t sums[2 * TILE_ROWS][PANEL] __attribute__((aligned(64)));
	amx_open();
	for (int64_t first = 0; first < in; first += DEEPEST) {
		int64_t length = medley_min(DEEPEST, in - first), pitch = length / 64 * TILE_BYTES;
		if (!p->again || in > DEEPEST) {
			pack_int8(p->x + first, p->x_stride, p->rows, medley_min(length, p->x_stride - first), length, packed, rows_scales);
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			const char *at = (const char *)p->w + (panel * in + first) * PANEL;
			amx_panel b = {{at, at + HALF_BYTES}, 2 * HALF_BYTES};
			__m512 s0 = _mm512_loadu_ps(p->scales + panel * PANEL), s1 = _mm512_loadu_ps(p->scales + panel * PANEL + 16);
			for (int64_t r0 = 0; r0 < p->rows; r0 += 2 * TILE_ROWS) {
				const char *a = packed + r0 / TILE_ROWS * pitch;
				int64_t n = medley_min(2 * TILE_ROWS, p->rows - r0);
				if (n > TILE_ROWS) tiles(2, 1, a, pitch, length / 64, &b, (char *)sums, sizeof sums[0], 0);
				else tiles(1, 1, a, pitch, length / 64, &b, (char *)sums, sizeof sums[0], 0);
				for (int64_t i = 0; i < n; i++) {
					float *y = p->y + (r0 + i) * p->y_stride + (panel - p->panel0) * PANEL;
					__m512 scale = _mm512_set1_ps(rows_scales[r0 + i]);
					__m512 y0 = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[i])), _mm512_mul_ps(scale, s0));
					__m512 y1 = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[i] + 16)), _mm512_mul_ps(scale, s1));
					_mm512_storeu_ps(y, first ? _mm512_add_ps(_mm512_loadu_ps(y), y0) : y0);
					_mm512_storeu_ps(y + 16, first ? _mm512_add_ps(_mm512_loadu_ps(y + 16), y1) : y1);
				}
			}
		}
	}
	amx_close();
}

void amx_sum(const medley_term *terms, int64_t count, int b, int64_t first, int64_t n, void *to) {
	float sums[SUM_NUMBERS] __attribute__((aligned(64))) = {0};
	for (int64_t t = 0; t < count; t++) {
		const char *from = (const char *)(b ? terms[t].b : terms[t].a) + first * 2;
		__m512 weight = _mm512_set1_ps(terms[t].weight);
		for (int64_t i = 0; i < n; i += 16) {
			__m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + i * 2))), 16);
			_mm512_store_ps(sums + i, _mm512_fmadd_ps(weight, (__m512)wide, _mm512_load_ps(sums + i)));
		}
	}
	for (int64_t i = 0; i < n; i += 32) {
		_mm512_storeu_si512((char *)to + i * 2, (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums + i + 16), _mm512_load_ps(sums + i)));
	}
}

const medley_unit medley_amx_bfloat16 = {"AMX bf16", product_bfloat16, amx_update, amx_sum}, medley_amx_int8 = {"AMX int8", product_int8, NULL, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
