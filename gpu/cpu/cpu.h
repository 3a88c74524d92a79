// What the C files of this package share: the pool of threads, the jobs, and the table of functions that each instruction
// set fills in.
//
// Layouts. A tensor is row-major; its row stride is its width rounded up to 32 floats, and the columns beyond its width hold
// zeros, so kernels have no column tails. A weight W [out, in] is packed in panels of 32 outputs, [out/32][in][32], with zeros
// for the outputs beyond the last; B [out, rank] of a low-rank update is packed the same way, and A [rank, in] keeps its rows
// with the stride of a tensor.
#ifndef MEDLEY_CPU_H
#define MEDLEY_CPU_H

#include <stdint.h>

enum {
	PANEL = 32,         // columns of a packed weight panel
	BLOCK_ROWS = 192,   // most rows of one task of a product; its packed rows stay in L2
	DEEP = 1024,        // longest k that a product walks in one go
	DEPTH = 512,        // longer ones are cut into lengths of this
	RANK_GROUP = 512,   // most hidden columns of an update computed at a time
	MAX_BLOCKS = 64,    // most modules expanded at a time
	CHUNK = 256,        // columns of logits held at a time; fixed, as the order of the sum depends on it
	CHUNK_ROWS = 96,    // most rows of logits held at a time
	NORM_ROWS = 16,     // rows of one task of a normalisation
	GATE_FLOATS = 8192, // numbers of one task of an activation
};

// Threads.

typedef struct medley_pool medley_pool;
typedef void (*medley_task)(void *job, int64_t task, float *scratch);

medley_pool *medley_pool_new(int threads);
void medley_pool_free(medley_pool *p);
// medley_pool_run calls task(job, i, scratch) for every i in [0, tasks), on all threads when cost, in multiply-adds, is worth
// waking them for. The caller's thread works too, with the scratch it brought. It returns 0, or -1 if memory ran out.
int medley_pool_run(medley_pool *p, medley_task task, void *job, int64_t tasks, double cost, float *scratch, int64_t scratch_bytes);
int medley_pool_threads(const medley_pool *p);
int medley_worth_sharing(const medley_pool *p, double cost);

// Memory, aligned to a cache line.

void *medley_alloc(int64_t bytes);
void medley_free(void *p);

// Denormals are flushed while this package computes: they slow products several times and carry nothing.
unsigned long medley_flush_on(void);
void medley_flush_restore(unsigned long state);

// Jobs.

typedef struct {
	const float *a; // [rank, stride of in]
	const float *b; // packed panels of [out, rank]
	int64_t rank;
	float weight, scale;
} medley_term;

typedef struct {
	int64_t row0, row1;
	int64_t term0, terms; // terms [term0, term0+terms) of the job's table
	int64_t product;
} medley_segment;

typedef struct {
	const float *x, *w, *residual;
	float *y;
	int64_t rows, in, out;
	int64_t x_stride, y_stride;
	const medley_segment *segments;
	int64_t segment_count;
	const medley_term *terms;
	int64_t row_tasks, col_tasks;
} medley_linear_job;

typedef struct {
	int64_t q0, q1, k0, k1, q_pos;
} medley_span;

typedef struct {
	const float *q, *k, *v;
	float *y;
	int64_t stride, heads, width; // width: columns of one head
	float scale;
	int64_t causal;
	const medley_span *spans; // cut into tasks of a few query rows
	const float *bias;        // [heads, distances], or NULL
	int64_t distances, bias_zero, max_keys;
} medley_attend_job;

typedef struct {
	const float *x, *gain;
	float *y;
	int64_t rows, cols, stride;
	float eps;
} medley_norm_job;

typedef struct {
	const float *a, *b; // b may be NULL
	float *y;
	int64_t count; // a multiple of 32
	int64_t activation;
} medley_gate_job;

typedef struct {
	const float *x, *head;
	const int32_t *targets;
	float *y;
	float *highest, *sums; // [rows, chunks]: the largest logit of a chunk and Σ exp(logit - largest)
	float *chosen;         // [rows]: the target's logit
	int64_t rows, in, vocabulary, x_stride, y_stride;
	int64_t chunks, row_tasks, col_tasks;
} medley_logprobs_job;

// What one instruction set provides.
typedef struct {
	const char *name;
	medley_task linear, attend, norm, gate, logits;
	int64_t (*attend_scratch)(const medley_attend_job *);
} medley_isa;

extern const medley_isa medley_avx512, medley_avx2, medley_generic;

// medley_find_isa returns the named set, or the best one for an empty name; NULL if this processor lacks it.
const medley_isa *medley_find_isa(const char *name);
void medley_processor(char *name, int size);

// Operations. They return 0, or -1 if memory ran out.

int64_t medley_linear_scratch(void);
int medley_linear(medley_pool *p, const medley_isa *isa, medley_linear_job job, const medley_segment *segments, const medley_term *terms, float *scratch);
int medley_attend(medley_pool *p, const medley_isa *isa, medley_attend_job job, const medley_span *spans, int64_t span_count, double cost, float *scratch, int64_t scratch_bytes);
int64_t medley_attend_scratch(const medley_isa *isa, medley_attend_job job);
int medley_norm(medley_pool *p, const medley_isa *isa, medley_norm_job job);
int medley_gate(medley_pool *p, const medley_isa *isa, medley_gate_job job);
int64_t medley_logprobs_scratch(void);
int medley_logprobs(medley_pool *p, const medley_isa *isa, medley_logprobs_job job, const int32_t *targets, float *scratch);
int medley_pack(medley_pool *p, const float *w, int64_t out, int64_t in, float *panels);
void medley_transpose_bias(const float *bias, int64_t distances, int64_t heads, float *out);

static inline int64_t medley_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t medley_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t medley_max(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
