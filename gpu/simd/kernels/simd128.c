// The kernels of gpu/cpu for WebAssembly's vectors of four floats: the same headers, compiled for one more instruction set, with a
// pool of one thread, and functions that take their arguments as numbers. The host (package simd) owns the memory: every pointer
// is an offset that it has allocated.
#include "../../cpu/cpu.h"

#include <math.h>
#include <stddef.h>

#define VL 4
#define MR 4 // more rows spill: V8 leaves 15 registers, and a multiply-add takes one for the product

#include "../../cpu/vector.h"

// WebAssembly cannot flush denormals, which slow the products that they reach some ten times. They come from exponentials: of scores
// far below the largest, and of activations far below 0. e^x is cut to 0 below e^-60 = 9e-27, which no sum beside 1 sees, and to
// infinity above e^60, so that x / (1 + e^60) is 0.
INLINE V cut_exponential(V x) {
	V e = exponential(x);
	e = choose(x < -60.0f, (V){0}, e);
	return choose(x > 60.0f, splat(INFINITY), e);
}
#define exponential cut_exponential

// Weights are f32 here: what turns narrow ones into it would be a quarter of the file.
#define widen(p, panel, k, n, out) (out)

// Tiles of 5 and 6 rows are written down too, for which this instruction set has no room; nothing calls them.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wexcess-initializers"
#pragma clang diagnostic ignored "-Warray-bounds"
#pragma clang diagnostic ignored "-Wunused-function"
#include "../../cpu/matmul.h"
#pragma clang diagnostic pop

#include "../../cpu/dots.h"

#include "../../cpu/linear.h"

#include "../../cpu/compose.h"

#include "../../cpu/attend.h"

#include "../../cpu/pointwise.h"

static const medley_isa simd128 = {.compose = compose_task, .linear = linear_task, .attend = attend_task, .norm = norm_task, .rotate = rotate_task, .gate = gate_task, .logits = logits_task};

#define EXPORT(name) __attribute__((export_name(#name)))

// What package simd knows of the layouts.
_Static_assert(PANEL == 32 && CHUNK == 256 && PAGE_ROWS == 32, "constants of memory.go, ops.go and package backend");
_Static_assert(sizeof(medley_term) == 24 && offsetof(medley_term, b) == 4 && offsetof(medley_term, rank) == 8 && offsetof(medley_term, weight) == 16 && offsetof(medley_term, scale) == 20, "term of linear.go");
_Static_assert(sizeof(medley_segment) == 56 && offsetof(medley_segment, row1) == 8 && offsetof(medley_segment, term0) == 16 && offsetof(medley_segment, terms) == 24 && offsetof(medley_segment, product) == 32 && offsetof(medley_segment, tokens) == 40, "segment of linear.go");
_Static_assert(sizeof(medley_span) == 48 && offsetof(medley_span, page0) == 40 && offsetof(medley_span, q1) == 8 && offsetof(medley_span, k0) == 16 && offsetof(medley_span, k1) == 24 && offsetof(medley_span, q_pos) == 32, "span of ops.go");

int medley_pool_run(medley_pool *p, medley_task task, void *job, int64_t tasks, double cost, float *scratch, int64_t scratch_bytes) {
	(void)p, (void)cost, (void)scratch_bytes;
	for (int64_t i = 0; i < tasks; i++) task(job, i, scratch);
	return 0;
}

int medley_pool_threads(const medley_pool *p) { return (void)p, 1; }

int medley_worth_sharing(const medley_pool *p, double cost) { return (void)p, (void)cost, 0; }

static size_t stride(uint32_t cols) { return (size_t)medley_ceil(cols, PANEL) * PANEL; }

// clear zeros whole stretches of memory.
EXPORT(clear) void clear(void *p, uint32_t bytes) { __builtin_memset(p, 0, bytes); }

// gather copies row rows[i] of src to row i of dst.
EXPORT(gather) void gather_rows(float *dst, const float *src, const int32_t *rows, uint32_t count, uint32_t cols) {
	size_t wide = stride(cols);
	for (uint32_t i = 0; i < count; i++) __builtin_memcpy(dst + i * wide, src + (size_t)rows[i] * wide, wide * sizeof(float));
}

// scatter copies row i of src to row rows[i] of dst.
EXPORT(scatter) void scatter_rows(float *dst, const float *src, const int32_t *rows, uint32_t count, uint32_t cols) {
	size_t wide = stride(cols);
	for (uint32_t i = 0; i < count; i++) __builtin_memcpy(dst + (size_t)rows[i] * wide, src + i * wide, wide * sizeof(float));
}

EXPORT(pack) void pack(const float *w, uint32_t out, uint32_t in, float *panels) { medley_pack(NULL, w, out, in, panels); }

EXPORT(norm) void norm(const float *x, const float *gain, float *y, uint32_t rows, uint32_t cols, uint32_t width, float eps) {
	medley_norm(NULL, &simd128, (medley_norm_job){.x = x, .gain = gain, .y = y, .rows = rows, .cols = cols, .stride = (int64_t)stride(cols), .width = width, .eps = eps});
}

EXPORT(rotate) void rotate(const float *x, const float *angles, float *y, uint32_t rows, uint32_t heads, uint32_t half) {
	medley_rotate(NULL, &simd128, (medley_rotate_job){
		.x = x, .angles = angles, .y = y, .rows = rows, .heads = heads, .half = half, .stride = (int64_t)stride(heads * 2 * half), .angles_stride = (int64_t)stride(2 * half),
	});
}

EXPORT(gate) void gate_all(const float *a, const float *b, float *y, uint32_t count, uint32_t activation) {
	medley_gate(NULL, &simd128, (medley_gate_job){.a = a, .b = b, .y = y, .count = count, .activation = activation});
}

static medley_linear_job linear_job(uint32_t rows, uint32_t in, uint32_t out, medley_segment *segments, uint32_t count, medley_term *terms) {
	return (medley_linear_job){
		.rows = rows, .in = in, .out = out, .x_stride = (int64_t)stride(in), .y_stride = (int64_t)stride(out),
		.segments = segments, .segment_count = count, .terms = terms,
	};
}

// linear_scratch is the bytes of linear's scratch, what it composes included.
EXPORT(linear_scratch) double linear_bytes(uint32_t rows, uint32_t in, uint32_t out, medley_segment *segments, uint32_t count, medley_term *terms) {
	medley_linear_job job = linear_job(rows, in, out, segments, count, terms);
	return (double)(medley_linear_scratch() + medley_compose_bytes(&job));
}

EXPORT(linear) void linear(const float *x, const float *w, const float *bias, const float *residual, float *y, uint32_t rows, uint32_t in, uint32_t out, medley_segment *segments, uint32_t count, medley_term *terms, float *scratch) {
	medley_linear_job job = linear_job(rows, in, out, segments, count, terms);
	job.x = x, job.w = w, job.bias = bias, job.residual = residual, job.y = y;
	medley_linear(NULL, &simd128, job, (char *)scratch + medley_linear_scratch(), scratch);
}

EXPORT(logprobs_scratch) double logprobs_bytes(void) { return (double)medley_logprobs_scratch(); }

// logprobs takes partial [rows, 2·chunks + 1] floats of memory, chunks being the vocabulary cut into CHUNKs.
EXPORT(logprobs) void logprobs(const float *x, const float *head, const int32_t *targets, float *y, uint32_t rows, uint32_t in, uint32_t vocabulary, float *partial, float *scratch) {
	int64_t chunks = medley_ceil(vocabulary, CHUNK);
	medley_logprobs_job job = {
		.x = x, .head = head, .y = y, .rows = rows, .in = in, .vocabulary = vocabulary, .x_stride = (int64_t)stride(in), .y_stride = (int64_t)stride(1),
		.highest = partial, .sums = partial + rows * chunks, .chosen = partial + 2 * rows * chunks, .chunks = chunks,
	};
	medley_logprobs(NULL, &simd128, job, targets, scratch);
}

EXPORT(transpose) void transpose_bias(const float *bias, uint32_t distances, uint32_t heads, float *out) {
	medley_transpose_bias(bias, distances, heads, out);
}

EXPORT(attend_scratch) double attend_bytes(uint32_t cols, uint32_t heads, uint32_t max_keys) {
	return (double)attend_scratch(&(medley_attend_job){.width = cols / heads, .max_keys = max_keys});
}

// attend takes the bias as transpose_bias leaves it, or NULL.
EXPORT(attend) void attend(const float *q, const float *k, const float *v, float *y, uint32_t cols, uint32_t heads, uint32_t group, float scale, uint32_t causal, double window, const medley_span *spans, uint32_t count, const int32_t *pages, uint32_t max_keys, const float *bias, uint32_t distances, double bias_zero, float *scratch) {
	medley_attend_job job = {
		.q = q, .k = k, .v = v, .y = y, .stride = (int64_t)stride(cols), .kv_stride = (int64_t)stride(cols / group), .heads = heads, .group = group,
		.width = cols / heads, .scale = scale, .causal = causal, .window = (int64_t)window, .bias = bias, .distances = distances, .bias_zero = (int64_t)bias_zero, .max_keys = max_keys,
	};
	medley_attend(NULL, &simd128, job, spans, count, pages, 0, scratch, 0);
}
