//go:build cgo

#if defined(__linux__) && defined(__x86_64__)

#include "amx.h"

#include <string.h>

// One stretch of a module's rank, a multiple of 16 unless the module ends.
typedef struct {
	const medley_term *term;
	int64_t first, n;
} slice;

// What the two steps of an update share: x Aᵀ of the rows into hidden columns, and those times Bᵀ.
typedef struct {
	const medley_linear_job *job;
	int64_t row0, rows, panel0, panel1;
	char *packed;             // PACKED_FLOATS
	float *hidden;            // [rows][HIDDEN]
	slice slices[MAX_BLOCKS]; // the modules of the hidden columns, each padded to 16
	int count;
	int64_t width; // of the hidden columns
} update;

// next_group takes the following slices of the terms, as many as the scratch holds.
static void next_group(update *u, const medley_term *terms, int64_t count, int64_t *term, int64_t *first) {
	u->count = 0, u->width = 0;
	while (*term < count && u->count < MAX_BLOCKS && u->width < RANK_GROUP) {
		const medley_term *t = &terms[*term];
		int64_t n = medley_min(t->rank - *first, RANK_GROUP - u->width);
		u->slices[u->count++] = (slice){t, *first, n};
		u->width += medley_ceil(n, HALF) * HALF;
		*first += n;
		if (*first == t->rank) ++*term, *first = 0;
	}
}

// project computes the hidden columns of the group.
static void project(const update *u) {
	const medley_linear_job *j = u->job;
	int64_t in = medley_narrow_rows(BFLOAT16, j->in);
	const char *halves[RANK_GROUP / HALF + 1];
	int n = 0;
	for (int i = 0; i < u->count; i++) {
		const slice *s = &u->slices[i];
		for (int64_t c = 0; c < s->n; c += HALF) halves[n++] = (const char *)s->term->a + (s->first + c) / HALF * in / 2 * HALF_BYTES;
	}
	halves[n] = halves[n - 1]; // an odd last one is computed twice; scale clears the second
	for (int64_t first = 0; first < in; first += AMX_DEEP) {
		int64_t length = medley_min(AMX_DEEP, in - first), offset = first / 2 * HALF_BYTES;
		amx_pack(j->x + u->row0 * j->x_stride + first, j->x_stride, u->rows, length, u->packed);
		for (int i = 0; i < n; i += 2) {
			amx_panel b = {{halves[i] + offset, halves[i + 1] + offset}, HALF_BYTES};
			amx_multiply(u->packed, length / 32 * TILE_BYTES, u->rows, length / 32, &b, u->hidden + i * HALF, HIDDEN, first > 0);
		}
	}
}

// scale multiplies the hidden columns of each slice with its weight and scale.
static void scale(const update *u) {
	float by[RANK_GROUP + HALF];
	int64_t width = medley_ceil(u->width, PANEL) * PANEL;
	for (int64_t i = 0, c = 0; i < u->count; i++) {
		const slice *s = &u->slices[i];
		for (int64_t end = c + medley_ceil(s->n, HALF) * HALF; c < end; c++) by[c] = s->term->weight * s->term->scale;
	}
	for (int64_t r = 0; r < u->rows; r++) {
		float *row = u->hidden + r * HIDDEN;
		for (int64_t c = 0; c < u->width; c++) row[c] *= by[c];
		for (int64_t c = u->width; c < width; c++) row[c] = 0;
	}
}

// expand adds the hidden columns times Bᵀ to the result.
static void expand(const update *u) {
	const medley_linear_job *j = u->job;
	int64_t width = medley_ceil(u->width, PANEL) * PANEL, steps = width / 32;
	char *stack = u->packed + (BLOCK_ROWS * DEEP) * sizeof(float); // a panel of the modules' B, one below the other
	amx_pack(u->hidden, HIDDEN, u->rows, width, u->packed);
	memset(stack, 0, (size_t)(width * PANEL * 2));
	for (int64_t panel = u->panel0; panel < u->panel1; panel++) {
		char *to = stack;
		for (int i = 0; i < u->count; i++) {
			const slice *s = &u->slices[i];
			int64_t bytes = medley_ceil(s->n, HALF) * HALF * PANEL * 2, rank = medley_narrow_rows(BFLOAT16, s->term->rank);
			memcpy(to, (const char *)s->term->b + (panel * rank + s->first) * PANEL * 2, (size_t)bytes);
			to += bytes;
		}
		amx_panel b = {{stack, stack + HALF_BYTES}, 2 * HALF_BYTES};
		amx_multiply(u->packed, steps * TILE_BYTES, u->rows, steps, &b, j->y + u->row0 * j->y_stride + panel * PANEL, j->y_stride, 1);
	}
}

void amx_update(const medley_linear_job *j, const medley_segment *g, int64_t row0, int64_t rows, int64_t panel0, int64_t panel1, float *scratch) {
	update u = {j, row0, rows, panel0, panel1, (char *)scratch, scratch + PACKED_FLOATS, {{0}}, 0, 0};
	amx_open();
	for (int64_t term = 0, first = 0; term < g->terms;) {
		next_group(&u, j->terms + g->term0, g->terms, &term, &first);
		project(&u);
		scale(&u);
		expand(&u);
	}
	amx_close();
}

#endif
