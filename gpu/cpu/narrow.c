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

// minus multiplies a number of 16 bits by -2^power, exactly; 0x7c00 stands for what is too large.
static uint16_t minus(uint16_t h, unsigned power) {
	unsigned sign = ~h & 0x8000u, exponent = h >> 10 & 31u, mantissa = h & 1023u;
	if (exponent + power > 30) return 0x7c00;
	if (exponent > 0) return (uint16_t)(sign | (exponent + power) << 10 | mantissa);
	for (mantissa <<= power, exponent = mantissa >= 1024; mantissa >= 2048; mantissa /= 2) exponent++;
	return (uint16_t)(sign | exponent << 10 | (mantissa & 1023u));
}

static float half_to_float(uint16_t h) {
	float magnitude = h & 0x7c00 ? ldexpf((float)((h & 1023) + 1024), (h >> 10 & 31) - 25) : ldexpf((float)(h & 1023), -24);
	return h & 0x8000 ? -magnitude : magnitude;
}

typedef struct {
	const uint8_t *w;
	char *panels;
	int64_t storage, out, blocks, size; // size: bytes of a block of w, or of a super-block
	int offsets;
} block_job;

// put_integers lays out one block of one column; to points to the column's first word.
static void put_integers(int64_t storage, const uint8_t q[BLOCK], char *to) {
	uint32_t high[2] = {0, 0};
	for (int e = 0; e < BLOCK / 8; e++, to += 4 * PANEL) {
		uint32_t low = 0;
		for (int i = 0; i < 8; i++) {
			uint32_t number = q[8 * e + i];
			int byte = i / 2 * 8, group = 2 * e + i % 2;
			low |= (number & 15) << 4 * i;
			if (storage == SUPER6) high[e / 2] |= number >> 4 << (byte + group % 4 * 2);
			else high[0] |= number >> 4 << (byte + group);
		}
		memcpy(to, &low, 4);
	}
	int words = storage == SUPER6 ? 2 : storage == BLOCKS5 || storage == SUPER5 ? 1 : 0;
	for (int h = 0; h < words; h++) memcpy(to + 4 * PANEL * h, &high[h], 4);
}

// pack_block lays out one block of 32 of one column; to points to the column's scale.
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
	int five = j->storage == BLOCKS5;
	if (j->offsets) memcpy(&offset, from + 2, 2);
	else offset = minus(scale, five ? 4 : 3);
	memcpy(to, &scale, 2);
	memcpy(to + 2, &offset, 2);
	const uint8_t *high = from + (j->offsets ? 4 : 2), *low = high + (five ? 4 : 0); // numbers k and k + 16 in a byte
	uint8_t q[BLOCK];
	for (int k = 0; k < BLOCK; k++) q[k] = (uint8_t)((low[k % 16] >> k / 16 * 4 & 15) | (five ? high[k / 8] >> k % 8 << 4 & 16 : 0));
	put_integers(j->storage, q, integers);
}

// pack_fours lays out column c of a super-block of Q4_K or Q5_K.
static void pack_fours(const block_job *j, const uint8_t *from, char *super, int64_t c) {
	int five = j->storage == SUPER5;
	const uint8_t *scales = from + 4, *high = from + 16, *low = high + (five ? BLOCK : 0);
	memcpy(super + 4 * c, from, 4);
	char *to = super + medley_super_bytes(j->storage);
	for (int b = 0; b < SUPER; b++, to += medley_block_bytes(j->storage)) {
		// Of 6 bits each: the first four whole, with the upper bits of the others above them.
		to[c] = (char)(b < 4 ? scales[b] & 63 : (scales[b + 4] & 15) | scales[b - 4] >> 6 << 4);
		to[PANEL + c] = (char)(b < 4 ? scales[b + 4] & 63 : scales[b + 4] >> 4 | scales[b] >> 6 << 4);
		uint8_t q[BLOCK];
		for (int k = 0; k < BLOCK; k++) q[k] = (uint8_t)((low[b / 2 * BLOCK + k] >> b % 2 * 4 & 15) | (five ? (high[k] >> b & 1) << 4 : 0));
		put_integers(j->storage, q, to + 2 * PANEL + 4 * c);
	}
}

// pack_sixes lays out column c of a super-block of Q6_K.
static void pack_sixes(const block_job *j, const uint8_t *from, char *super, int64_t c) {
	const uint8_t *scales = from + 192;
	uint16_t scale;
	memcpy(&scale, from + 208, 2);
	float wide = half_to_float(scale);
	memcpy(super + 4 * c, &wide, 4);
	char *to = super + medley_super_bytes(j->storage);
	for (int b = 0; b < SUPER; b++, to += medley_block_bytes(j->storage)) {
		const uint8_t *low = from + b / 4 * 64 + b % 2 * BLOCK, *high = from + 128 + b / 4 * BLOCK; // halves of four blocks
		to[c] = (char)scales[2 * b];
		to[PANEL + c] = (char)scales[2 * b + 1];
		uint8_t q[BLOCK];
		for (int k = 0; k < BLOCK; k++) q[k] = (uint8_t)((low[k] >> b % 4 / 2 * 4 & 15) | (high[k] >> b % 4 * 2 & 3) << 4);
		put_integers(j->storage, q, to + 2 * PANEL + 4 * c);
	}
}

static void pack_blocks_task(void *arg, int64_t panel, float *scratch) {
	(void)scratch;
	const block_job *j = arg;
	int64_t step = j->storage >= SUPER4 ? SUPER : 1, bytes = medley_blocks_bytes(j->storage, step);
	char *to = j->panels + panel * medley_blocks_bytes(j->storage, j->blocks);
	for (int64_t b = 0; b < j->blocks; b += step, to += bytes) {
		memset(to, 0, (size_t)bytes);
		for (int64_t c = 0; c < medley_min(PANEL, j->out - panel * PANEL); c++) {
			const uint8_t *from = j->w + ((panel * PANEL + c) * j->blocks + b) / step * j->size;
			if (step == 1) pack_block(j, from, to + 4 * c);
			else if (j->storage == SUPER6) pack_sixes(j, from, to, c);
			else pack_fours(j, from, to, c);
		}
	}
}

int medley_pack_blocks(medley_pool *p, int64_t storage, int offsets, const uint8_t *w, int64_t out, int64_t in, char *panels) {
	static const int64_t sizes[] = {[BLOCKS8] = 34, [BLOCKS4] = 18, [BLOCKS5] = 22, [SUPER4] = 144, [SUPER5] = 176, [SUPER6] = 210};
	block_job job = {w, panels, storage, out, in / BLOCK, sizes[storage] + (offsets ? 2 : 0), offsets};
	return medley_pool_run(p, pack_blocks_task, &job, medley_ceil(out, PANEL), (double)(out * in) * 4, NULL, 0);
}
