// The task of a linear map: the product for a block of rows, then the low-rank terms of the segments that reach into the
// block, then the bias and the residual, while the block is in cache.

typedef struct {
	float *packed; // [PACKED_FLOATS]
	float *hidden; // [RANK_GROUP][BLOCK_ROWS]
} linear_scratch;

INLINE linear_scratch scratch_of(float *memory) { return (linear_scratch){memory, memory + PACKED_FLOATS}; }

// part is the rows of one segment that lie in one task, and the panels of the task. Without x it is rows of the weight itself, from
// `column` of x on: x is then the identity.
typedef struct {
	const medley_linear_job *job;
	const float *x;
	int64_t column;
	float *y; // panel p of row r is at y + r·y_stride + p·pitch
	int64_t y_stride, pitch, rows, panel0, panel1;
} part;

// expand adds hidden·Bᵀ for a group of modules; hidden is packed for tiles, width columns in all.
static void expand(const part *s, const float *hidden, int64_t width, const block *blocks, int count) {
	for (int64_t p = s->panel0; p < s->panel1; p++) {
		for (int64_t i = 0; i < tile_count(s->rows); i++) {
			int64_t r = tile_start(s->rows, i), height = tile_start(s->rows, i + 1) - r;
			tiles[height](hidden + r * width, blocks, count, p, s->y + r * s->y_stride + p * s->pitch, s->y_stride, 1);
		}
	}
}

// project computes columns [first, first+n) of weight · x Aᵀ into column `at` of hidden, packed for tiles of width columns.
static void project(const part *s, const medley_term *t, int64_t first, int64_t n, float weight, float *hidden, int64_t width, int64_t at) {
	int64_t k = s->job->x_stride; // whole rows: the columns beyond the last are zeros
	const float *a = (const float *)t->a + first * k;
	for (int64_t i = 0; i < tile_count(s->rows); i++) {
		int64_t r = tile_start(s->rows, i), height = tile_start(s->rows, i + 1) - r;
		float *to = hidden + r * width + at * height;
		if (s->x) {
			all_dots(s->x + r * k, k, height, a, k, n, k, weight, to, 1, height);
			continue;
		}
		// Whole vectors, as long as the next columns overwrite what they spill.
		const float *from = a + s->column + r, *end = to + n * height;
		for (; end - to >= medley_max(height, VL) + VL; from += k, to += height) {
			for (int64_t j = 0; j < height; j += VL) store(to + j, weight * load(from + j));
		}
		for (; to < end; from += k, to += height) {
			for (int64_t j = 0; j < height; j++) to[j] = weight * from[j];
		}
	}
}

// slice is a stretch of one module's rank.
typedef struct {
	const medley_term *term;
	int64_t first, n;
} slice;

// next_group takes the following slices of the terms, as many as the scratch holds, and returns how many.
static int next_group(const medley_term *terms, int64_t count, int64_t *term, int64_t *first, slice *group, int64_t *width) {
	int n = 0;
	for (*width = 0; *term < count && *width < RANK_GROUP && n < MAX_BLOCKS;) {
		const medley_term *t = &terms[*term];
		int64_t take = medley_min(t->rank - *first, RANK_GROUP - *width);
		group[n++] = (slice){t, *first, take};
		*width += take;
		*first += take;
		if (*first == t->rank) ++*term, *first = 0;
	}
	return n;
}

static block block_of(const medley_term *t, int64_t first, int64_t n) {
	return (block){(const float *)t->b + first * PANEL, t->rank * PANEL, n};
}

static void add_delta(const part *s, const medley_term *terms, int64_t count, const linear_scratch *scratch) {
	slice group[MAX_BLOCKS];
	block blocks[MAX_BLOCKS];
	int64_t width;
	for (int64_t term = 0, first = 0; term < count;) {
		int n = next_group(terms, count, &term, &first, group, &width);
		for (int64_t i = 0, at = 0; i < n; at += group[i].n, i++) {
			const medley_term *t = group[i].term;
			project(s, t, group[i].first, group[i].n, t->weight * t->scale, scratch->hidden, width, at);
			blocks[i] = block_of(t, group[i].first, group[i].n);
		}
		expand(s, scratch->hidden, width, blocks, n);
	}
}

// first_segment is the first that ends after the row.
static int64_t first_segment(const medley_linear_job *j, int64_t row) {
	int64_t low = 0, high = j->segment_count;
	while (low < high) {
		int64_t middle = (low + high) / 2;
		if (j->segments[middle].row1 > row) high = middle;
		else low = middle + 1;
	}
	return low;
}

// base_product multiplies rows [row0, row1) by one weight.
static void base_product(const medley_linear_job *j, const void *w, int64_t row0, int64_t row1, int64_t panel0, int64_t panel1, float *packed) {
	medley_product p = {
		.x = j->x + row0 * j->x_stride, .w = w, .scales = j->scales, .y = j->y + row0 * j->y_stride + panel0 * PANEL,
		.storage = j->storage, .rows = row1 - row0, .in = j->in, .x_stride = j->x_stride, .y_stride = j->y_stride,
		.panel0 = panel0, .panel1 = panel1, .packed = packed,
	};
	if (p.rows > 0) product(&p, j->unit);
}

// multiply takes each row by its weight: that of its segment, if it has one of its own.
static void multiply(const medley_linear_job *j, int64_t row0, int64_t row1, int64_t panel0, int64_t panel1, float *packed) {
	int64_t from = row0;
	for (int64_t i = first_segment(j, row0); i < j->segment_count && j->segments[i].row0 < row1; i++) {
		const medley_segment *g = &j->segments[i];
		if (!g->own || g->product) continue;
		int64_t first = medley_max(from, g->row0), last = medley_min(row1, g->row1);
		base_product(j, j->w, from, first, panel0, panel1, packed);
		base_product(j, g->own, first, last, panel0, panel1, packed);
		from = last;
	}
	base_product(j, j->w, from, row1, panel0, panel1, packed);
}

static void linear_task(void *arg, int64_t task, float *memory) {
	const medley_linear_job *j = arg;
	int64_t down = task / j->col_tasks, across = task % j->col_tasks, panels = medley_ceil(j->out, PANEL);
	int64_t row0 = j->rows * down / j->row_tasks, row1 = j->rows * (down + 1) / j->row_tasks;
	int64_t panel0 = panels * across / j->col_tasks, panel1 = panels * (across + 1) / j->col_tasks;
	linear_scratch scratch = scratch_of(memory);

	multiply(j, row0, row1, panel0, panel1, scratch.packed);

	for (int64_t i = first_segment(j, row0); i < j->segment_count && j->segments[i].row0 < row1; i++) {
		const medley_segment *g = &j->segments[i];
		int64_t r = medley_max(row0, g->row0), rows = medley_min(row1, g->row1) - r;
		if (rows <= 0 || g->terms == 0 || (g->own && !g->product)) continue;
		part s = {
			.job = j, .x = j->x + r * j->x_stride, .y = j->y + r * j->y_stride, .y_stride = j->y_stride, .pitch = PANEL,
			.rows = rows, .panel0 = panel0, .panel1 = panel1,
		};
		if (j->updater) j->updater->update(j, g, r, rows, panel0, panel1, memory);
		else add_delta(&s, j->terms + g->term0, g->terms, &scratch);
	}

	for (int64_t r = row0; j->bias && r < row1; r++) {
		float *y = j->y + r * j->y_stride;
		for (int64_t c = panel0 * PANEL; c < panel1 * PANEL; c += VL) store(y + c, load(y + c) + load(j->bias + c));
	}
	for (int64_t r = row0; j->residual && r < row1; r++) {
		float *y = j->y + r * j->y_stride;
		const float *residual = j->residual + r * j->y_stride;
		for (int64_t c = panel0 * PANEL; c < panel1 * PANEL; c += VL) store(y + c, load(y + c) + load(residual + c));
	}
}
