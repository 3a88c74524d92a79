//go:build cgo

#include "cpu.h"

#include <string.h>

enum { COPY_ROWS = 64 }; // rows of one task

typedef struct {
	float *dst;
	const float *src;
	const int32_t *to, *from;
	int64_t dst_stride, src_stride, rows, cols, wide;
} copy_job;

static void copy_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const copy_job *j = arg;
	int64_t last = medley_min(j->rows, (task + 1) * COPY_ROWS);
	for (int64_t r = task * COPY_ROWS; r < last; r++) {
		float *dst = j->dst + (j->to ? j->to[r] : r) * j->dst_stride;
		memcpy(dst, j->src + (j->from ? j->from[r] : r) * j->src_stride, (size_t)j->cols * sizeof(float));
		memset(dst + j->cols, 0, (size_t)(j->wide - j->cols) * sizeof(float));
	}
}

int medley_copy(medley_pool *p, float *dst, int64_t dst_stride, const int32_t *to, const float *src, int64_t src_stride, const int32_t *from, int64_t rows, int64_t cols, int64_t wide) {
	copy_job job = {dst, src, to, from, dst_stride, src_stride, rows, cols, wide};
	double each = 16; // memory is that much slower than a multiply-add
	return medley_pool_run(p, copy_task, &job, medley_ceil(rows, COPY_ROWS), each * (double)rows * (double)cols, NULL, 0);
}
