//go:build cgo

#include "cpu.h"

#include <math.h>
#include <string.h>

// Packing of narrow weights, and the units that multiply them.

// to_bfloat16 rounds to the nearest, ties to even; NaN stays NaN.
static uint16_t to_bfloat16(float x) {
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	if (x != x) return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

typedef struct {
	const float *w;
	void *panels;
	float *scales;
	int64_t out, in, columns; // columns of a panel
} pack_job;

static void pack_bfloat16_task(void *arg, int64_t panel, float *scratch) {
	(void)scratch;
	const pack_job *j = arg;
	int64_t rows = medley_narrow_rows(BFLOAT16, j->in);
	uint16_t *to = (uint16_t *)j->panels + panel * rows * j->columns;
	for (int64_t k = 0; k < rows; k += 2) {
		for (int64_t c = panel * j->columns; c < (panel + 1) * j->columns; c++) {
			for (int64_t i = k; i < k + 2; i++) *to++ = c < j->out && i < j->in ? to_bfloat16(j->w[c * j->in + i]) : 0;
		}
	}
}

int medley_pack_bfloat16(medley_pool *p, const float *w, int64_t out, int64_t in, int64_t columns, uint16_t *panels) {
	pack_job job = {w, panels, NULL, out, in, columns};
	return medley_pool_run(p, pack_bfloat16_task, &job, medley_ceil(out, columns), (double)(out * in) * 4, NULL, 0);
}

static void pack_int8_task(void *arg, int64_t panel, float *scratch) {
	(void)scratch;
	const pack_job *j = arg;
	int64_t rows = medley_narrow_rows(INT8, j->in);
	int8_t *to = (int8_t *)j->panels + panel * rows * PANEL;
	float *scales = j->scales + panel * PANEL;
	for (int64_t c = 0; c < PANEL; c++) {
		float most = 0;
		const float *w = j->w + (panel * PANEL + c) * j->in;
		for (int64_t k = 0; panel * PANEL + c < j->out && k < j->in; k++) most = fmaxf(most, fabsf(w[k]));
		scales[c] = most / 127;
	}
	for (int64_t k = 0; k < rows; k += 4) {
		for (int64_t c = 0; c < PANEL; c++) {
			int64_t column = panel * PANEL + c;
			for (int64_t i = k; i < k + 4; i++) {
				*to++ = column < j->out && i < j->in && scales[c] > 0 ? (int8_t)lrintf(j->w[column * j->in + i] / scales[c]) : 0;
			}
		}
	}
}

int medley_pack_int8(medley_pool *p, const float *w, int64_t out, int64_t in, int8_t *panels, float *scales) {
	pack_job job = {w, panels, scales, out, in, PANEL};
	return medley_pool_run(p, pack_int8_task, &job, medley_ceil(out, PANEL), (double)(out * in) * 8, NULL, 0);
}

// minus_eight multiplies a number of 16 bits by -8, exactly; 0x7c00 stands for what is too large.
static uint16_t minus_eight(uint16_t h) {
	unsigned sign = ~h & 0x8000u, exponent = h >> 10 & 31u, mantissa = h & 1023u;
	if (exponent > 27) return 0x7c00;
	if (exponent > 0) return (uint16_t)(sign | (exponent + 3) << 10 | mantissa);
	for (mantissa *= 8, exponent = mantissa >= 1024; mantissa >= 2048; mantissa /= 2) exponent++;
	return (uint16_t)(sign | exponent << 10 | (mantissa & 1023u));
}

static float half_to_float(uint16_t h) {
	float magnitude = h & 0x7c00 ? ldexpf((float)((h & 1023) + 1024), (h >> 10 & 31) - 25) : ldexpf((float)(h & 1023), -24);
	return h & 0x8000 ? -magnitude : magnitude;
}

typedef struct {
	const uint8_t *w;
	char *panels;
	int64_t storage, out, blocks, size; // size: bytes of a block of w
	int offsets;
} block_job;

// pack_block lays out one block of one column; to points to the column's scale.
static void pack_block(const block_job *j, const uint8_t *from, char *to) {
	uint16_t scale, offset;
	memcpy(&scale, from, 2);
	char *integers = to + 4 * PANEL;
	if (j->storage == BLOCKS8) {
		float wide = half_to_float(scale);
		memcpy(to, &wide, 4);
		for (int k = 0; k < BLOCK; k += 4, integers += 4 * PANEL) memcpy(integers, from + 2 + k, 4);
		return;
	}
	if (j->offsets) memcpy(&offset, from + 2, 2);
	else offset = minus_eight(scale);
	memcpy(to, &scale, 2);
	memcpy(to + 2, &offset, 2);
	const uint8_t *q = from + (j->offsets ? 4 : 2); // numbers k and k + 16 in a byte
	for (int k = 0; k < BLOCK; k += 8, integers += 4 * PANEL) {
		uint32_t eight = 0;
		for (int i = 0; i < 8; i++) eight |= (uint32_t)(k < 16 ? q[k + i] & 15 : q[k + i - 16] >> 4) << 4 * i;
		memcpy(integers, &eight, 4);
	}
}

static void pack_blocks_task(void *arg, int64_t panel, float *scratch) {
	(void)scratch;
	const block_job *j = arg;
	int64_t bytes = medley_block_bytes(j->storage);
	for (int64_t b = 0; b < j->blocks; b++) {
		char *to = j->panels + (panel * j->blocks + b) * bytes;
		memset(to, 0, (size_t)bytes);
		for (int64_t c = 0; c < medley_min(PANEL, j->out - panel * PANEL); c++) {
			pack_block(j, j->w + ((panel * PANEL + c) * j->blocks + b) * j->size, to + 4 * c);
		}
	}
}

int medley_pack_blocks(medley_pool *p, int64_t storage, int offsets, const uint8_t *w, int64_t out, int64_t in, char *panels) {
	block_job job = {w, panels, storage, out, in / BLOCK, storage == BLOCKS8 ? 34 : offsets ? 20 : 18, offsets};
	return medley_pool_run(p, pack_blocks_task, &job, medley_ceil(out, PANEL), (double)(out * in) * 4, NULL, 0);
}
