// Normalisation, activations, and the softmax of logits.

static void norm_task(void *arg, int64_t task, float *scratch) {
	(void)scratch;
	const medley_norm_job *j = arg;
	int64_t last = medley_min(j->rows, (task + 1) * NORM_ROWS);
	for (int64_t r = task * NORM_ROWS; r < last; r++) {
		const float *x = j->x + r * j->stride;
		float *y = j->y + r * j->stride;
		V even = {0}, odd = {0}; // PANEL is a multiple of two vectors
		for (int64_t c = 0; c < j->stride; c += 2 * VL) {
			even += load(x + c) * load(x + c);
			odd += load(x + c + VL) * load(x + c + VL);
		}
		float inverse = 1 / sqrtf(sum_lanes(even + odd) / (float)j->cols + j->eps);
		for (int64_t c = 0; c < j->stride; c += VL) store(y + c, load(x + c) * inverse * load(j->gain + c));
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
