// Products with weights in blocks of small integers (BLOCKS8, BLOCKS4), in integers. Included once per instruction set, after
//   VL        integers of 32 bits in a vector, and I, F: such vectors of integers and floats
//   ROWS      most rows of a tile
//   DOT       adds the products of pairs of 16-bit integers to sums of 32 bits
//   HALVES    turns VL scales and offsets of 16 bits, side by side, into f32
//
// The rows of x become integers of 16 bits, with a scale for every 32 of them: they are off by at most 1/65534 of the largest of the
// 32. A block's sum of products is exact; it is scaled, and added to that of the blocks before. So a row's result does not depend on its
// neighbours.
#include "cpu.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
	PAIRS = BLOCK / 2,
	DEEPEST = 1792, // most k at a time: BLOCK_ROWS rows of it fill PACKED_FLOATS
	AHEAD = 2048,   // bytes of weights to fetch ahead
};

// row_block is one block of a row of x. A pair is the two numbers that meet the halves of a word of weights: at k and k + 4 of eight
// in BLOCKS4, at k and k + 2 of four in BLOCKS8.
typedef struct {
	int32_t pair[PAIRS];
	float scale, sum; // sum: of the 32 numbers
} row_block;

_Static_assert(sizeof(row_block) * (DEEPEST / BLOCK) * BLOCK_ROWS <= sizeof(float) * PACKED_FLOATS, "rows in blocks fit the scratch of a product");

// quantise turns 32 numbers into integers of at most 32767. A block that holds NaN or infinity gets such a scale.
INLINE void quantise(const float *x, const int apart, row_block *to) {
	uint32_t bits[BLOCK], most = 0;
	int32_t q[BLOCK], sum = 0;
	memcpy(bits, x, sizeof bits);
	for (int k = 0; k < BLOCK; k++) { // as integers, numbers without sign keep their order, and NaN is above all
		uint32_t b = bits[k] & 0x7fffffff;
		most = b > most ? b : most;
	}
	float highest;
	memcpy(&highest, &most, sizeof highest);
	const float round = 12582912.0f; // 1.5 · 2^23: adding it rounds to an integer and leaves that in the low bits
	int tiny = highest < 1e-30f;     // its inverse could be infinite
	float inverse = tiny ? 0 : 32767 / highest;
	for (int k = 0; k < BLOCK; k++) {
		float shifted = x[k] * inverse + round;
		memcpy(&q[k], &shifted, sizeof shifted);
		q[k] -= 0x4B400000;
		sum += q[k];
	}
	for (int k = 0, p = 0; k < BLOCK; k += 2 * apart) {
		for (int i = 0; i < apart; i++, p++) to->pair[p] = (q[k + i] & 0xffff) | (int32_t)((uint32_t)q[k + i + apart] << 16);
	}
	to->scale = tiny ? 0 : highest / 32767;
	to->sum = to->scale * (float)sum;
}

typedef int32_t unaligned_I __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef float unaligned_F __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE I load_words(const void *p) { return *(const unaligned_I *)p; }
INLINE F load(const void *p) { return *(const unaligned_F *)p; }
INLINE void store(float *p, F v) { *(unaligned_F *)p = v; }

// halves are the i-th pairs of words of weights, as integers of 16 bits.
INLINE I halves(const int64_t storage, I word, const int i) { return storage == BLOCKS8 ? BYTES(word, i) : (word >> 4 * i) & 0xf000f; }

// tile adds the products of rows and two vectors of columns over some blocks to y, or sets it to them. w points to the columns' scales in
// the first block, x to the rows.
INLINE void tile(const int64_t storage, const int rows, const row_block *x, int64_t pitch, const char *w, int64_t blocks, float *y, int64_t stride, int add) {
	F total[ROWS][2];
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		for (int c = 0; c < 2; c++) total[r][c] = add ? load(y + r * stride + c * VL) : (F){0};
	}
	int64_t bytes = medley_block_bytes(storage);
	for (int64_t b = 0; b < blocks; b++, w += bytes, x++) {
		I sum[ROWS][2];
#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = (I){0};
		const int each = storage == BLOCKS8 ? 2 : 4; // pairs of a word
		const char *words = w + 4 * PANEL;
#pragma GCC unroll 8
		for (int g = 0; g < PAIRS / each; g++, words += 4 * PANEL) {
			I word[2] = {load_words(words), load_words(words + sizeof(I))};
			__builtin_prefetch(words + AHEAD);
			if (VL == 16) __builtin_prefetch(words + AHEAD + 64);
#pragma GCC unroll 4
			for (int i = 0; i < each; i++) {
				I a = halves(storage, word[0], i), b = halves(storage, word[1], i);
#pragma GCC unroll 8
				for (int r = 0; r < rows; r++) {
					I both = (I){0} + x[r * pitch].pair[g * each + i];
					sum[r][0] = DOT(sum[r][0], a, both);
					sum[r][1] = DOT(sum[r][1], b, both);
				}
			}
		}
#pragma GCC unroll 2
		for (int c = 0; c < 2; c++) {
			F scale, offset;
			if (storage == BLOCKS8) scale = load(w + c * sizeof(F));
			else HALVES(w + c * sizeof(I), &scale, &offset);
#pragma GCC unroll 8
			for (int r = 0; r < rows; r++) {
				total[r][c] += __builtin_convertvector(sum[r][c], F) * (scale * x[r * pitch].scale);
				if (storage == BLOCKS4) total[r][c] += offset * x[r * pitch].sum;
			}
		}
	}
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++) {
		for (int c = 0; c < 2; c++) store(y + r * stride + c * VL, total[r][c]);
	}
}

typedef void (*tile_function)(const row_block *, int64_t, const char *, int64_t, float *, int64_t, int);

#define TILE(storage, rows)                                                                                                               \
	static void tile_##storage##_##rows(const row_block *x, int64_t pitch, const char *w, int64_t blocks, float *y, int64_t stride, int add) { \
		tile(storage, rows, x, pitch, w, blocks, y, stride, add);                                                                         \
	}
TILE(BLOCKS8, 1) TILE(BLOCKS8, 2) TILE(BLOCKS8, 3) TILE(BLOCKS8, 4) TILE(BLOCKS4, 1) TILE(BLOCKS4, 2) TILE(BLOCKS4, 3) TILE(BLOCKS4, 4)
#if ROWS > 4
TILE(BLOCKS8, 5) TILE(BLOCKS8, 6) TILE(BLOCKS4, 5) TILE(BLOCKS4, 6)
#define MORE(storage) , tile_##storage##_5, tile_##storage##_6
#else
#define MORE(storage)
#endif
#define ROW_COUNTS(storage) {0, tile_##storage##_1, tile_##storage##_2, tile_##storage##_3, tile_##storage##_4 MORE(storage)}

static const tile_function tiles[2][ROWS + 1] = {ROW_COUNTS(BLOCKS8), ROW_COUNTS(BLOCKS4)};

static int64_t tile_start(int64_t rows, int64_t i) { return rows * i / medley_ceil(rows, ROWS); }

static void product(const medley_product *p) {
	int64_t count = medley_ceil(p->rows, ROWS), pitch = medley_min(p->in, DEEPEST) / BLOCK, bytes = medley_block_bytes(p->storage);
	row_block *rows = (row_block *)p->packed;
	for (int64_t first = 0; first < p->in; first += DEEPEST) {
		int64_t blocks = medley_min(DEEPEST, p->in - first) / BLOCK;
		for (int64_t r = 0; r < p->rows && (!p->again || p->in > DEEPEST); r++) {
			for (int64_t b = 0; b < blocks; b++) {
				const float *x = p->x + r * p->x_stride + first + b * BLOCK;
				if (p->storage == BLOCKS8) quantise(x, 2, rows + r * pitch + b);
				else quantise(x, 4, rows + r * pitch + b);
			}
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			const char *w = (const char *)p->w + (panel * (p->in / BLOCK) + first / BLOCK) * bytes;
			for (int64_t i = 0; i < count; i++) {
				int64_t r = tile_start(p->rows, i), height = tile_start(p->rows, i + 1) - r;
				float *y = p->y + r * p->y_stride + (panel - p->panel0) * PANEL;
				for (int64_t c = 0; c < PANEL; c += 2 * VL) {
					tiles[p->storage == BLOCKS4][height](rows + r * pitch, pitch, w + 4 * c, blocks, y + c, p->y_stride, first > 0);
				}
			}
		}
	}
}
