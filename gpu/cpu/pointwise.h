// Normalisation, activations, and the softmax of logits.

// norm_stretches normalises each stretch of a row by itself.
static void norm_stretches(const medley_norm_job *j, const float *x, float *y) {
	for (int64_t at = 0; at < j->cols; at += j->width) {
		int64_t whole = j->width / VL * VL;
		V squares = {0};
		for (int64_t c = 0; c < whole; c += VL) squares += load(x + at + c) * load(x + at + c);
		float sum = sum_lanes(squares);
		for (int64_t c = whole; c < j->width; c++) sum += x[at + c] * x[at + c];
		float inverse = 1 / sqrtf(sum / (float)j->width + j->eps);
		for (int64_t c = 0; c < whole; c += VL) store(y + at + c, load(x + at + c) * inverse * load(j->gain + c));
		for (int64_t c = whole; c < j->width; c++) y[at + c] = x[at + c] * inverse * j->gain[c];
	}
	for (int64_t c = j->cols; c < j->stride; c++) y[c] = 0;
}

static void norm_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const medley_norm_job *j = arg;
	int64_t last = medley_min(j->rows, (task + 1) * NORM_ROWS);
	for (int64_t r = task * NORM_ROWS; r < last; r++) {
		const float *x = j->x + r * j->stride;
		float *y = j->y + r * j->stride;
		if (j->width != j->cols) {
			norm_stretches(j, x, y);
			continue;
		}
		V even = {0}, odd = {0}; // PANEL is a multiple of two vectors
		for (int64_t c = 0; c < j->stride; c += 2 * VL) {
			even += load(x + c) * load(x + c);
			odd += load(x + c + VL) * load(x + c + VL);
		}
		float inverse = 1 / sqrtf(sum_lanes(even + odd) / (float)j->cols + j->eps);
		for (int64_t c = 0; c < j->stride; c += VL) store(y + c, load(x + c) * inverse * load(j->gain + c));
	}
}

// rotate_head turns the pairs of columns c and c + half of one head.
INLINE void rotate_head(const float *x, const float *cosines, const float *sines, float *y, int64_t half) {
	int64_t c = 0;
	for (; half - c >= VL; c += VL) {
		V low = load(x + c), high = load(x + half + c), cosine = load(cosines + c), sine = load(sines + c);
		store(y + c, low * cosine - high * sine);
		store(y + half + c, high * cosine + low * sine);
	}
	for (; c < half; c++) {
		y[c] = x[c] * cosines[c] - x[half + c] * sines[c];
		y[half + c] = x[half + c] * cosines[c] + x[c] * sines[c];
	}
}

static void rotate_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const medley_rotate_job *j = arg;
	int64_t last = medley_min(j->rows, (task + 1) * NORM_ROWS), width = 2 * j->half;
	for (int64_t r = task * NORM_ROWS; r < last; r++) {
		const float *x = j->x + r * j->stride, *angles = j->angles + r * j->angles_stride;
		float *y = j->y + r * j->stride;
		for (int64_t h = 0; h < j->heads; h++) rotate_head(x + h * width, angles, angles + j->half, y + h * width, j->half);
		for (int64_t c = j->heads * width; c < j->stride; c++) y[c] = 0;
	}
}

enum { RELU, GELU_NEW, SILU }; // the order of backend.Activation

// activate uses 0.5·(1 + tanh(u)) = 1/(1 + e^-2u).
INLINE V activate(const int activation, V x) {
	if (activation == RELU) return choose(x < 0.0f, (V){0}, x);
	V u = x;
	if (activation == GELU_NEW) u = x * (1.5957691216f + 0.0713548163f * (x * x));
	return x / (1.0f + exponential(-u));
}

INLINE void gate(const int activation, const medley_gate_job *j, int64_t from, int64_t to) {
	if (!j->b) {
		for (int64_t i = from; i < to; i += VL) store(j->y + i, activate(activation, load(j->a + i)));
		return;
	}
	for (int64_t i = from; i < to; i += VL) store(j->y + i, activate(activation, load(j->a + i)) * load(j->b + i));
}

static void gate_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const medley_gate_job *j = arg;
	int64_t from = task * GATE_FLOATS, to = medley_min(j->count, from + GATE_FLOATS);
	switch (j->activation) {
	case GELU_NEW: gate(GELU_NEW, j, from, to); break;
	case SILU: gate(SILU, j, from, to); break;
	default: gate(RELU, j, from, to);
	}
}

// sum_row finds the largest of n logits and Σ exp(logit - largest). Columns up to a whole vector are overwritten.
INLINE void sum_row(float *logits, int64_t n, float *highest, float *sum) {
	int64_t whole = medley_ceil(n, VL) * VL;
	for (int64_t c = n; c < whole; c++) logits[c] = -INFINITY;
	V most = load(logits), total = {0};
	for (int64_t c = VL; c < whole; c += VL) most = larger(load(logits + c), most);
	*highest = largest_lane(most);
	for (int64_t c = 0; c < whole; c += VL) total += exponential(load(logits + c) - *highest);
	*sum = sum_lanes(total);
}

// logits_task computes the logits of some rows, a chunk of columns at a time, and keeps of them the largest, the sum of their
// exponentials, and the target's.
static void logits_task(void *arg, int64_t task, float *scratch) {
	const medley_logprobs_job *j = arg;
	int64_t down = task / j->col_tasks, across = task % j->col_tasks, panels = medley_ceil(j->vocabulary, PANEL);
	int64_t row0 = j->rows * down / j->row_tasks, row1 = j->rows * (down + 1) / j->row_tasks;
	int64_t chunk0 = j->chunks * across / j->col_tasks, chunk1 = j->chunks * (across + 1) / j->col_tasks;
	float *logits = scratch;
	medley_product p = {
		.x = j->x + row0 * j->x_stride, .w = j->head, .scales = j->scales, .y = logits,
		.storage = j->storage, .rows = row1 - row0, .in = j->in, .x_stride = j->x_stride, .y_stride = CHUNK,
		.packed = scratch + CHUNK_ROWS * CHUNK,
	};
	for (int64_t chunk = chunk0; chunk < chunk1; chunk++, p.again = 1) {
		int64_t first = chunk * CHUNK, last = medley_min(j->vocabulary, first + CHUNK);
		p.panel0 = first / PANEL, p.panel1 = medley_min(panels, (first + CHUNK) / PANEL);
		product(&p, j->unit);
		for (int64_t r = row0; r < row1; r++) {
			float *row = logits + (r - row0) * CHUNK;
			int64_t target = j->targets[r];
			if (target >= first && target < last) j->chosen[r] = row[target - first];
			sum_row(row, last - first, &j->highest[r * j->chunks + chunk], &j->sums[r * j->chunks + chunk]);
		}
	}
}
