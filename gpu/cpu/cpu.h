// What the C files of this package share: the pool of threads, the jobs, and the table of functions that each instruction
// set fills in.
//
// Layouts. A tensor is row-major; its row stride is its width rounded up to 32 floats, and the columns beyond its width hold
// zeros, so kernels have no column tails. A weight W [out, in] is packed in panels of 32 outputs, with zeros for the outputs
// and inputs beyond the last:
//   FLOAT32   [out/32][in][32]
//   BFLOAT16  [out/32][in/2][32][2], in rounded up to 32
//   INT8      [out/32][in/4][32][4], in rounded up to 64; a column is its integers times its scale
//   BLOCKS8   [out/32][in/32] blocks of a f32 scale [32] and integers [8][32][4]
//   BLOCKS4   [out/32][in/32] blocks of a scale and an offset of 16 bits [32][2] and integers of 4 bits [4][32][8]; a number is its
//             integer times the scale, plus the offset
//   BLOCKS5   the same, and the fifth bits [32][32] after the integers
//   SUPER4, SUPER5  [out/32][in/256] super-blocks of what scales and offsets are counted in, of 16 bits [32][2], and eight blocks of scales and
//             offsets of 8 bits [2][32] and integers as above; offsets are subtracted
//   SUPER6    [out/32][in/256] super-blocks of what scales are counted in, f32 [32], and eight blocks of scales of 8 bits [2][32], of the first
//             16 numbers and of the others, integers of 4 bits [4][32][8] and their upper two bits [2][32][16]; a number is its integer
//             less 32, times the scale
// The upper bits of a column are not in the order of its numbers: number i of eight e is the (i / 2)-th of group 2e + i % 2, and the (i / 2)-th byte of
// a word has at bit g that of group g, or in the e / 2-th of two words at bits 2g and 2g + 1 those of group g + 4 (e / 2).
// In f32, B [out, rank] of a low-rank update is packed as a weight is, and A [rank, in] keeps its rows with the stride of a
// tensor. What a unit (below) reads instead is said in amx.h.
#ifndef MEDLEY_CPU_H
#define MEDLEY_CPU_H

#include <stddef.h>
#include <stdint.h>

enum {
	PANEL = 32,         // columns of a packed weight panel
	BLOCK_ROWS = 192,   // most rows of one task of a product; its packed rows stay in L2
	DEEP = 1024,        // longest k that a product walks in one go; longer ones are cut
	WIDENED = 256,      // rows of a narrow panel turned into f32 at a time; they stay in L1
	RANK_GROUP = 512,   // most hidden columns of an update computed at a time
	MAX_BLOCKS = 64,    // most modules expanded at a time
	SUM_NUMBERS = 2048, // numbers of factors summed at a time; they stay in L1
	CHUNK = 256,        // columns of logits held at a time; fixed, as the order of the sum depends on it
	CHUNK_ROWS = 96,    // most rows of logits held at a time
	PAGE_ROWS = 32,     // backend.PageRows
	NORM_ROWS = 16,     // rows of one task of a normalisation or a rotation
	GATE_FLOATS = 8192, // numbers of one task of an activation
	PACKED_FLOATS = BLOCK_ROWS * DEEP + PANEL * (WIDENED + 1), // what a product needs beside its operands
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

enum { FLOAT32, BFLOAT16, INT8, BLOCKS8, BLOCKS4, BLOCKS5, SUPER4, SUPER5, SUPER6 }; // how the numbers of a weight are stored
enum { BLOCK = 32, SUPER = 8 };                                                      // numbers of a column in one of their blocks, and blocks in a super-block

typedef struct {
	const void *a; // [rank, stride of in]
	const void *b; // packed panels of [out, rank]
	int64_t rank;
	float weight, scale;
} medley_term;

typedef struct {
	int64_t row0, row1;
	int64_t term0, terms; // terms [term0, term0+terms) of the job's table
	int64_t product;
	int64_t tokens; // backend.Segment.Tokens
	void *own;      // what its terms are composed into: a factor of the segment's own if product, else a weight; NULL for neither
} medley_segment;

// medley_product is panels [panel0, panel1) of x Wᵀ for some rows; y points to the first of those panels.
typedef struct {
	const float *x;
	const void *w;
	const float *scales; // of the outputs, INT8 only
	float *y;
	int64_t storage, rows, in, x_stride, y_stride, panel0, panel1;
	float *packed; // PACKED_FLOATS
	int again;     // packed still holds these rows from the call before, as it does when they fit at once
} medley_product;

typedef struct medley_linear_job medley_linear_job;

// medley_unit multiplies narrow numbers in hardware made for it.
typedef struct {
	const char *name;
	void (*product)(const medley_product *);
	// update adds the low-rank terms of one segment to rows [row0, row0+rows) and panels [panel0, panel1) of the result. It is
	// NULL where terms are f32.
	void (*update)(const medley_linear_job *, const medley_segment *, int64_t row0, int64_t rows, int64_t panel0, int64_t panel1, float *scratch);
	// sum sets n numbers from `first` on to Σ weight·term, each read from the same place of a (or of b) of each term; n is at most SUM_NUMBERS.
	void (*sum)(const medley_term *terms, int64_t count, int b, int64_t first, int64_t n, void *to);
} medley_unit;

struct medley_linear_job {
	const float *x;
	const void *w;
	const float *scales, *bias, *residual; // bias: of the outputs, or NULL
	float *y;
	int64_t storage;
	const medley_unit *unit, *updater; // for w and for the terms; NULL for plain f32 arithmetic
	int64_t rows, in, out;
	int64_t x_stride, y_stride;
	medley_segment *segments;
	int64_t segment_count;
	medley_term *terms;
	int64_t row_tasks, col_tasks, shares; // shares: tasks that compose one segment's terms
};

typedef struct {
	int64_t q0, q1, k0, k1, q_pos;
	int64_t page0; // where its pages start in the job's, k0 being 0; negative for keys in one stretch
} medley_span;

typedef struct {
	const float *q, *k, *v;
	float *y;
	int64_t stride, kv_stride, heads, group, width; // group: heads that share one of k and v; width: columns of one head
	float scale;
	int64_t causal, window; // window: 0 for none
	const medley_span *spans; // cut into tasks of a few query rows
	const int32_t *pages;     // see backend.Span
	const float *bias;        // [heads, distances], or NULL
	int64_t distances, bias_zero, max_keys;
} medley_attend_job;

typedef struct {
	const float *x, *gain;
	float *y;
	int64_t rows, cols, stride, width; // width: columns normalised together, cols or a divisor of it
	float eps;
} medley_norm_job;

typedef struct {
	const float *x, *angles;
	float *y;
	int64_t rows, heads, half, stride, angles_stride; // half: half the columns of a head
} medley_rotate_job;

typedef struct {
	const float *a, *b; // b may be NULL
	float *y;
	int64_t count; // a multiple of 32
	int64_t activation;
} medley_gate_job;

typedef struct {
	const float *x;
	const void *head;
	const float *scales;
	int64_t storage;
	const medley_unit *unit;
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
	medley_task compose, linear, attend, norm, rotate, gate, logits;
	int64_t (*attend_scratch)(const medley_attend_job *);
} medley_isa;

extern const medley_isa medley_avx512, medley_avx2, medley_neon, medley_generic;
extern const medley_unit medley_amx_bfloat16, medley_amx_int8, medley_vnni, medley_blocks_vnni;

// medley_find_isa returns the named set, or the best one for an empty name; NULL if this processor lacks it. "amx" is AVX-512 with
// the units of AMX.
const medley_isa *medley_find_isa(const char *name);
void medley_processor(char *name, int size);

// medley_find_unit returns the unit that the named set has for a storage, or NULL.
const medley_unit *medley_find_unit(const char *name, int64_t storage);

// Operations. They return 0, or -1 if memory ran out.

// medley_linear takes scratch for the caller's thread, and memory for what it composes: medley_compose_bytes. It changes the tables.
int64_t medley_linear_scratch(void);
int64_t medley_compose_bytes(const medley_linear_job *job);
int medley_linear(medley_pool *p, const medley_isa *isa, medley_linear_job job, void *memory, float *scratch);
int medley_attend(medley_pool *p, const medley_isa *isa, medley_attend_job job, const medley_span *spans, int64_t span_count, const int32_t *pages, double cost, float *scratch, int64_t scratch_bytes);
int64_t medley_attend_scratch(const medley_isa *isa, medley_attend_job job);
int medley_norm(medley_pool *p, const medley_isa *isa, medley_norm_job job);
int medley_rotate(medley_pool *p, const medley_isa *isa, medley_rotate_job job);
int medley_gate(medley_pool *p, const medley_isa *isa, medley_gate_job job);
int64_t medley_logprobs_scratch(void);
int medley_logprobs(medley_pool *p, const medley_isa *isa, medley_logprobs_job job, const int32_t *targets, float *scratch);
int medley_pack(medley_pool *p, const float *w, int64_t out, int64_t in, float *panels);
// medley_pack_bfloat16 makes panels of any number of columns; PANEL is a weight's.
int medley_pack_bfloat16(medley_pool *p, const float *w, int64_t out, int64_t in, int64_t columns, uint16_t *panels);
// medley_pack_blocks takes rows of GGUF's blocks: Q8_0 into BLOCKS8, Q4_1 and Q5_1 into BLOCKS4 and BLOCKS5, Q4_0 and Q5_0 too if not offsets, and
// Q4_K, Q5_K and Q6_K into the super-blocks.
int medley_pack_blocks(medley_pool *p, int64_t storage, int offsets, const uint8_t *w, int64_t out, int64_t in, char *panels);
int medley_pack_int8(medley_pool *p, const float *w, int64_t out, int64_t in, int8_t *panels, float *scales);
// medley_copy copies row from[i] of src to row to[i] of dst, i itself where a list is NULL: cols floats, and zeros up to wide.
int medley_copy(medley_pool *p, float *dst, int64_t dst_stride, const int32_t *to, const float *src, int64_t src_stride, const int32_t *from, int64_t rows, int64_t cols, int64_t wide);
void medley_transpose_bias(const float *bias, int64_t distances, int64_t heads, float *out);

static inline int64_t medley_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }
// medley_narrow_rows is the number of rows of a narrow panel: the depth of a tile of a unit, once or several times.
static inline int64_t medley_narrow_rows(int64_t storage, int64_t in) {
	int64_t tile = storage == INT8 ? 64 : 32;
	return medley_ceil(in, tile) * tile;
}
// medley_block_bytes is the size of a block of a panel.
static inline int64_t medley_block_bytes(int64_t storage) {
	switch (storage) {
	case BLOCKS8: return PANEL * (4 + BLOCK);
	case BLOCKS4: return PANEL * (4 + BLOCK / 2);
	case BLOCKS5: return PANEL * (4 + BLOCK * 5 / 8);
	case SUPER4: return PANEL * (2 + BLOCK / 2);
	case SUPER5: return PANEL * (2 + BLOCK * 5 / 8);
	default: return PANEL * (2 + BLOCK * 6 / 8);
	}
}
// medley_super_bytes is the size of what stands before the blocks of a super-block.
static inline int64_t medley_super_bytes(int64_t storage) { return storage >= SUPER4 ? 4 * PANEL : 0; }
// medley_blocks_bytes is the size of so many blocks of a panel, whole super-blocks where there are such.
static inline int64_t medley_blocks_bytes(int64_t storage, int64_t blocks) {
	return blocks * medley_block_bytes(storage) + blocks / SUPER * medley_super_bytes(storage);
}
// medley_factor is how many numbers a term's A and B hold, and the bytes of one.
typedef struct {
	int64_t a, b, size;
} medley_factor;

static inline medley_factor medley_factor_numbers(const medley_linear_job *j, int64_t rank) {
	int64_t out = medley_ceil(j->out, PANEL) * PANEL;
	if (!j->updater) return (medley_factor){rank * j->x_stride, rank * out, sizeof(float)};
	return (medley_factor){
		medley_ceil(rank, PANEL / 2) * (PANEL / 2) * medley_narrow_rows(BFLOAT16, j->in), medley_narrow_rows(BFLOAT16, rank) * out, sizeof(uint16_t),
	};
}

static inline int64_t medley_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t medley_max(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
