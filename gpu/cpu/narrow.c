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
