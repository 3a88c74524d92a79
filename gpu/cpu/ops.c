//go:build cgo

#include "cpu.h"

#include <math.h>
#include <stddef.h>

enum {
	UPDATE_ROWS = 8,     // a block of rows worth a thread when there are low-rank terms
	PRODUCT_ROWS = 24,   // and when there are none
	UNPACK_COST = 4,     // of a number of a block, in multiply-adds
};

int64_t medley_linear_scratch(void) { return (PACKED_FLOATS + BLOCK_ROWS * (RANK_GROUP + PANEL)) * (int64_t)sizeof(float); }

// cut_rows picks how many row tasks to cut a job into: a multiple of the threads unless there are many, of at most `most` rows
// and, beyond what that takes, of at least `least`.
static int64_t cut_rows(int64_t rows, int64_t threads, int64_t most, int64_t least) {
	int64_t tasks = medley_ceil(rows, most);
	if (threads == 1 || tasks >= 4 * threads) return tasks;
	int64_t even = medley_ceil(tasks, threads) * threads;
	return medley_max(tasks, medley_min(even, rows / least));
}

// own_bytes is the memory for what a segment's terms are composed into, or 0 for a segment that keeps them.
static int64_t own_bytes(const medley_linear_job *j, const medley_segment *g) {
	if (g->product) {
		medley_factor f = medley_factor_numbers(j, j->terms[g->term0].rank);
		return medley_ceil((f.a + f.b) * f.size, 64) * 64;
	}
	int wide = j->storage == FLOAT32 && !j->unit && !j->updater;
	return wide && (double)g->tokens * (double)(j->in + j->out) > (double)j->in * (double)j->out ? medley_ceil(j->out, PANEL) * PANEL * j->in * (int64_t)sizeof(float) : 0;
}

int64_t medley_compose_bytes(const medley_linear_job *j) {
	int64_t bytes = 0;
	for (int64_t s = 0; s < j->segment_count; s++) bytes += own_bytes(j, &j->segments[s]);
	return bytes;
}

// compose fills the memory of the segments that compose. The sums of factors become the segment's only term.
static int compose(medley_pool *p, const medley_isa *isa, medley_linear_job *job, char *memory, float *scratch) {
	double cost = 0;
	for (int64_t s = 0; s < job->segment_count; s++) {
		medley_segment *g = &job->segments[s];
		int64_t bytes = own_bytes(job, g);
		g->own = bytes ? memory : NULL;
		memory += bytes;
		for (int64_t t = 0; bytes && t < g->terms; t++) {
			cost += (double)job->terms[g->term0 + t].rank * (g->product ? (double)(job->in + job->out) : (double)job->in * (double)job->out);
		}
	}
	if (cost == 0) return 0;
	job->shares = medley_max(1, medley_ceil(job->in, BLOCK_ROWS));
	int failed = medley_pool_run(p, isa->compose, job, job->segment_count * job->shares, cost, scratch, medley_linear_scratch());
	for (int64_t s = 0; s < job->segment_count; s++) {
		medley_segment *g = &job->segments[s];
		medley_term *only = &job->terms[g->term0];
		if (!g->product) continue;
		medley_factor f = medley_factor_numbers(job, only->rank);
		*only = (medley_term){g->own, (char *)g->own + f.a * f.size, only->rank, 1, only->scale};
		g->terms = 1;
	}
	return failed;
}

int medley_linear(medley_pool *p, const medley_isa *isa, medley_linear_job job, void *memory, float *scratch) {
	int failed = compose(p, isa, &job, memory, scratch), updated = 0;
	if (failed) return failed;
	double cost = (double)job.rows * (double)job.in * (double)job.out;
	for (int64_t s = 0; s < job.segment_count; s++) {
		const medley_segment *g = &job.segments[s];
		for (int64_t t = 0; t < g->terms && (g->product || !g->own); t++) {
			cost += (double)(g->row1 - g->row0) * (double)job.terms[g->term0 + t].rank * (double)(job.in + job.out);
			updated = 1;
		}
	}
	// A few rows cost less than unpacking the blocks that they are multiplied with.
	if (job.storage >= BLOCKS8 && job.rows < UNPACK_COST) cost = UNPACK_COST * (double)job.in * (double)job.out;
	int64_t threads = medley_worth_sharing(p, cost) ? medley_pool_threads(p) : 1;
	job.row_tasks = cut_rows(job.rows, threads, BLOCK_ROWS, updated ? UPDATE_ROWS : PRODUCT_ROWS);
	job.col_tasks = medley_min(medley_ceil(job.out, PANEL), medley_ceil(threads, job.row_tasks));
	return medley_pool_run(p, isa->linear, &job, job.row_tasks * job.col_tasks, cost, scratch, medley_linear_scratch());
}

int64_t medley_attend_scratch(const medley_isa *isa, medley_attend_job job) { return isa->attend_scratch(&job); }

int medley_attend(medley_pool *p, const medley_isa *isa, medley_attend_job job, const medley_span *spans, int64_t span_count, const int32_t *pages, double cost, float *scratch, int64_t scratch_bytes) {
	job.spans = spans;
	job.pages = pages;
	return medley_pool_run(p, isa->attend, &job, span_count * (job.heads / job.group), cost, scratch, scratch_bytes);
}

int medley_norm(medley_pool *p, const medley_isa *isa, medley_norm_job job) {
	return medley_pool_run(p, isa->norm, &job, medley_ceil(job.rows, NORM_ROWS), 4 * (double)job.rows * (double)job.stride, NULL, 0);
}

int medley_rotate(medley_pool *p, const medley_isa *isa, medley_rotate_job job) {
	return medley_pool_run(p, isa->rotate, &job, medley_ceil(job.rows, NORM_ROWS), 4 * (double)job.rows * (double)job.stride, NULL, 0);
}

int medley_gate(medley_pool *p, const medley_isa *isa, medley_gate_job job) {
	double each = job.activation == 0 ? 4 : 32; // an exponential and a division count for many multiply-adds
	return medley_pool_run(p, isa->gate, &job, medley_ceil(job.count, GATE_FLOATS), each * (double)job.count, NULL, 0);
}

int64_t medley_logprobs_scratch(void) { return (CHUNK_ROWS * CHUNK + PACKED_FLOATS) * (int64_t)sizeof(float); }

enum { COMBINE_ROWS = 16 };

// combine_task adds the chunks of a row up, in double, as there can be hundreds.
static void combine_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const medley_logprobs_job *j = arg;
	int64_t last = medley_min(j->rows, (task + 1) * COMBINE_ROWS);
	for (int64_t r = task * COMBINE_ROWS; r < last; r++) {
		const float *highest = j->highest + r * j->chunks, *sums = j->sums + r * j->chunks;
		float most = highest[0];
		for (int64_t c = 1; c < j->chunks; c++) most = highest[c] > most ? highest[c] : most;
		double total = 0;
		for (int64_t c = 0; c < j->chunks; c++) total += sums[c] * exp((double)highest[c] - most);
		float *y = j->y + r * j->y_stride;
		y[0] = (float)((double)j->chosen[r] - most - log(total));
		for (int64_t c = 1; c < j->y_stride; c++) y[c] = 0;
	}
}

int medley_logprobs(medley_pool *p, const medley_isa *isa, medley_logprobs_job job, const int32_t *targets, float *scratch) {
	job.targets = targets;
	double cost = (double)job.rows * (double)job.in * (double)job.vocabulary;
	int64_t threads = medley_worth_sharing(p, cost) ? medley_pool_threads(p) : 1;
	job.row_tasks = cut_rows(job.rows, threads, CHUNK_ROWS, PRODUCT_ROWS);
	job.col_tasks = medley_min(job.chunks, job.row_tasks < 2 * threads ? medley_ceil(4 * threads, job.row_tasks) : 1);
	if (threads == 1) job.col_tasks = 1;
	int failed = medley_pool_run(p, isa->logits, &job, job.row_tasks * job.col_tasks, cost, scratch, medley_logprobs_scratch());
	if (failed) return failed;
	return medley_pool_run(p, combine_task, &job, medley_ceil(job.rows, COMBINE_ROWS), 50 * (double)(job.rows * job.chunks), NULL, 0);
}

typedef struct {
	const float *w;
	float *panels;
	int64_t out, in;
} pack_job;

static void pack_task(void *arg, int64_t panel, float *scratch) {
	(void)scratch;
	const pack_job *j = arg;
	const float *w = j->w + panel * PANEL * j->in;
	float *to = j->panels + panel * PANEL * j->in;
	int64_t columns = medley_min(PANEL, j->out - panel * PANEL);
	for (int64_t k = 0; k < j->in; k++, to += PANEL) {
		for (int64_t c = 0; c < PANEL; c++) to[c] = c < columns ? w[c * j->in + k] : 0;
	}
}

int medley_pack(medley_pool *p, const float *w, int64_t out, int64_t in, float *panels) {
	pack_job job = {w, panels, out, in};
	return medley_pool_run(p, pack_task, &job, medley_ceil(out, PANEL), (double)(out * in) * 4, NULL, 0);
}

void medley_transpose_bias(const float *bias, int64_t distances, int64_t heads, float *out) {
	for (int64_t h = 0; h < heads; h++) {
		for (int64_t d = 0; d < distances; d++) out[h * distances + d] = bias[d * heads + h];
	}
}
