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
	DEEPEST = 1024,       // most k at a time, whole super-blocks: BLOCK_ROWS rows of it fit PACKED_FLOATS
	AHEAD = 2,            // blocks of weights to fetch ahead
};

// row_block is 32 numbers of a row: by digits, the least first, in groups as the weights' words hold them.
typedef struct {
	int32_t digit[DIGITS][GROUPS];
	int32_t start[2][DIGITS]; // what the sums start at: unsigned weights of 8 bits are 128 too large, those of 6 bits, in halves of a block, 32
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
	// But for integers of 8 bits, the groups are the even and the odd numbers of every eight.
	const __m256i apart = _mm256_set_epi8(15, 13, 11, 9, 14, 12, 10, 8, 7, 5, 3, 1, 6, 4, 2, 0, 15, 13, 11, 9, 14, 12, 10, 8, 7, 5, 3, 1, 6, 4, 2, 0);
	for (int d = 0; d < DIGITS; d++) {
		__m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(half[1]), _mm512_cvtepi32_epi8(half[0])); // the lowest 8 bits of each
		for (int h = 0; h < 2; h++) {
			__m512i digit = _mm512_srai_epi32(_mm512_slli_epi32(half[h], 24), 24);
			half[h] = _mm512_srai_epi32(_mm512_sub_epi32(half[h], digit), 8);
		}
		if (storage != BLOCKS8) bytes = _mm256_shuffle_epi8(bytes, apart);
		_mm256_storeu_si256((__m256i *)to->digit[d], bytes);
		if (storage != BLOCKS8 && storage != SUPER6) continue;
		__m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes); // of groups
		int first = _mm512_reduce_add_epi32(_mm512_zextsi128_si512(_mm256_castsi256_si128(sums)));
		int second = _mm512_reduce_add_epi32(_mm512_zextsi128_si512(_mm256_extracti128_si256(sums, 1)));
		to->start[0][d] = storage == BLOCKS8 ? -128 * (first + second) : -32 * first;
		to->start[1][d] = -32 * second;
	}
}

// pairs turns 16 pairs of numbers of 16 bits into f32.
INLINE void pairs(__m512i pair, __m512 *first, __m512 *second) {
	const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
	pair = _mm512_permutexvar_epi16(order, pair);
	*first = _mm512_cvtph_ps(_mm512_castsi512_si256(pair));
	*second = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(pair, 1));
}

// unit is what the scales and offsets of a super-block are counted in, of half a panel in a vector.
typedef struct {
	__m512 scale[2], offset[2];
} unit;

INLINE unit unit_of(const int64_t storage, const char *super) {
	unit u;
	for (int c = 0; c < 2; c++) {
		__m512i pair = _mm512_loadu_si512((const __m512i *)super + c);
		if (storage == SUPER6) u.scale[c] = (__m512)pair;
		else pairs(pair, &u.scale[c], &u.offset[c]);
	}
	return u;
}

// block is one block of a panel of weights, half a panel in a vector.
typedef struct {
	__m512i group[GROUPS][2];
	__m512 scale[2], offset[2];
	__m512 second[2]; // SUPER6: the scale of the upper half of the block
} block;

// with_upper puts bits above four lower ones: of group g those that upper has for it.
INLINE __m512i with_upper(const int64_t storage, __m512i lower, __m512i upper, int g) {
	int six = storage == SUPER6, shift = six ? 4 - g % 4 * 2 : 4 - g; // to where the four end
	const __m512i mask = _mm512_set1_epi8(six ? 0x30 : 0x10);
	__m512i moved = shift > 0 ? _mm512_slli_epi32(upper, (unsigned)shift) : shift < 0 ? _mm512_srli_epi32(upper, (unsigned)-shift) : upper;
	return _mm512_ternarylogic_epi32(lower, moved, mask, 0xf8); // lower | (moved & mask)
}

INLINE void unpack_integers(const int64_t storage, const __m512i *words, block *b) {
	const __m512i nibbles = _mm512_set1_epi8(15);
	for (int c = 0; c < 2; c++) {
#pragma GCC unroll 8
		for (int g = 0; g < GROUPS; g++) {
			if (storage == BLOCKS8) {
				b->group[g][c] = _mm512_xor_si512(_mm512_loadu_si512(words + 2 * g + c), _mm512_set1_epi8((char)0x80));
				continue;
			}
			__m512i word = _mm512_loadu_si512(words + g / 2 * 2 + c), lower = _mm512_and_si512(g % 2 ? _mm512_srli_epi32(word, 4) : word, nibbles);
			if (storage == BLOCKS4 || storage == SUPER4) b->group[g][c] = lower;
			else b->group[g][c] = with_upper(storage, lower, _mm512_loadu_si512(words + GROUPS + (storage == SUPER6 ? g / 4 * 2 : 0) + c), g);
		}
	}
}

INLINE block unpack(const int64_t storage, const unit *u, const char *w) {
	block b;
	for (int c = 0; c < 2; c++) {
		if (storage < SUPER4) {
			__m512i pair = _mm512_loadu_si512((const __m512i *)w + c);
			if (storage == BLOCKS8) b.scale[c] = (__m512)pair;
			else pairs(pair, &b.scale[c], &b.offset[c]);
			continue;
		}
		__m128i first = _mm_loadu_si128((const __m128i *)w + c), second = _mm_loadu_si128((const __m128i *)(w + PANEL) + c);
		if (storage == SUPER6) {
			b.scale[c] = _mm512_mul_ps(u->scale[c], _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(first)));
			b.second[c] = _mm512_mul_ps(u->scale[c], _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(second)));
		} else {
			b.scale[c] = _mm512_mul_ps(u->scale[c], _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(first)));
			b.offset[c] = _mm512_mul_ps(u->offset[c], _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(second)));
		}
	}
	unpack_integers(storage, (const __m512i *)(w + (storage < SUPER4 ? 4 : 2) * PANEL), &b);
	return b;
}

// sum_groups multiplies groups [first, last) of a row.
INLINE void sum_groups(const int64_t storage, const block *b, const row_block *x, int first, int last, __m512 all[2]) {
	__m512i sum[DIGITS][2];
	int half = first > 0, starts = storage == BLOCKS8 || storage == SUPER6;
#pragma GCC unroll 3
	for (int d = 0; d < DIGITS; d++) sum[d][0] = sum[d][1] = starts ? _mm512_set1_epi32(x->start[half][d]) : _mm512_setzero_si512();
#pragma GCC unroll 8
	for (int g = first; g < last; g++) {
#pragma GCC unroll 3
		for (int d = 0; d < DIGITS; d++) {
			__m512i digit = _mm512_set1_epi32(x->digit[d][g]);
			sum[d][0] = _mm512_dpbusd_epi32(sum[d][0], b->group[g][0], digit);
			sum[d][1] = _mm512_dpbusd_epi32(sum[d][1], b->group[g][1], digit);
		}
	}
#pragma GCC unroll 2
	for (int c = 0; c < 2; c++) {
		__m512 high = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(sum[2][c], 8), sum[1][c]));
		all[c] = _mm512_fmadd_ps(high, _mm512_set1_ps(256), _mm512_cvtepi32_ps(sum[0][c]));
	}
}

// multiply adds one block of every row to y, or sets y to it.
INLINE void multiply(const int64_t storage, const unit *u, const char *w, const row_block *x, int64_t rows, float *y, int64_t stride, int add) {
	block b = unpack(storage, u, w);
	for (int64_t r = 0; r < rows; r++, x++, y += stride) {
		__m512 first[2], second[2], scale = _mm512_set1_ps(x->scale), sum = _mm512_set1_ps(x->sum);
		sum_groups(storage, &b, x, 0, storage == SUPER6 ? GROUPS / 2 : GROUPS, first);
		if (storage == SUPER6) sum_groups(storage, &b, x, GROUPS / 2, GROUPS, second);
#pragma GCC unroll 2
		for (int c = 0; c < 2; c++) {
			__m512 before = add ? _mm512_loadu_ps(y + 16 * c) : _mm512_setzero_ps();
			__m512 total = _mm512_fmadd_ps(first[c], _mm512_mul_ps(b.scale[c], scale), before);
			if (storage == SUPER6) total = _mm512_fmadd_ps(second[c], _mm512_mul_ps(b.second[c], scale), total);
			if (storage == SUPER4 || storage == SUPER5) total = _mm512_fnmadd_ps(b.offset[c], sum, total);
			if (storage == BLOCKS4 || storage == BLOCKS5) total = _mm512_fmadd_ps(b.offset[c], sum, total);
			_mm512_storeu_ps(y + 16 * c, total);
		}
	}
}

INLINE void multiply_panel(const int64_t storage, const char *w, int64_t blocks, const row_block *x, int64_t rows, float *y, int64_t stride, int add) {
	int64_t bytes = medley_block_bytes(storage);
	unit u;
	for (int64_t b = 0; b < blocks; b++, w += bytes, x += rows) {
		if (storage >= SUPER4 && b % SUPER == 0) u = unit_of(storage, w), w += medley_super_bytes(storage);
		for (int64_t line = 0; line < bytes; line += 64) _mm_prefetch(w + AHEAD * bytes + line, _MM_HINT_T0);
		multiply(storage, &u, w, x, rows, y, stride, add || b > 0);
	}
}

typedef void (*panel_function)(const char *, int64_t, const row_block *, int64_t, float *, int64_t, int);

#define FORM(form)                                                                                                                      \
	static void panel_##form(const char *w, int64_t blocks, const row_block *x, int64_t rows, float *y, int64_t stride, int add) { \
		multiply_panel(form, w, blocks, x, rows, y, stride, add);                                                               \
	}
FORM(BLOCKS8) FORM(BLOCKS4) FORM(BLOCKS5) FORM(SUPER4) FORM(SUPER5) FORM(SUPER6)

static const panel_function panels[] = {
	[BLOCKS8] = panel_BLOCKS8, [BLOCKS4] = panel_BLOCKS4, [BLOCKS5] = panel_BLOCKS5,
	[SUPER4] = panel_SUPER4, [SUPER5] = panel_SUPER5, [SUPER6] = panel_SUPER6,
};

static void product(const medley_product *p) {
	row_block *packed = (row_block *)p->packed; // [blocks][rows]
	for (int64_t first = 0; first < p->in; first += DEEPEST) {
		int64_t blocks = medley_min(DEEPEST, p->in - first) / BLOCK;
		for (int64_t b = 0; b < blocks && (!p->again || p->in > DEEPEST); b++) {
			for (int64_t r = 0; r < p->rows; r++) {
				const float *x = p->x + r * p->x_stride + first + b * BLOCK;
				row_block *to = packed + b * p->rows + r;
				if (p->storage == BLOCKS8) spread(BLOCKS8, x, to);
				else if (p->storage == SUPER6) spread(SUPER6, x, to);
				else spread(BLOCKS4, x, to);
			}
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			const char *w = (const char *)p->w + panel * medley_blocks_bytes(p->storage, p->in / BLOCK) + medley_blocks_bytes(p->storage, first / BLOCK);
			panels[p->storage](w, blocks, packed, p->rows, p->y + (panel - p->panel0) * PANEL, p->y_stride, first > 0);
		}
	}
}

const medley_unit medley_blocks_vnni = {"VNNI", product, NULL, NULL};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
