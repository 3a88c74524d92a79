// Attention for a few query rows of one span and one head: scores, softmax, mix.

enum { QUERY_ROWS = 4 };

// mix adds Σ_j p[i][j]·v[j] over keys [from, to) to rows x (vectors·VL) columns of y: one chain per result, in ascending j.
INLINE void mix(const int rows, const int vectors, const float *p, int64_t p_stride, const float *v, int64_t v_stride, int64_t from, int64_t to, float *y, int64_t y_stride) {
	V sum[QUERY_ROWS][4];
	UNROLL for (int i = 0; i < rows; i++) {
		UNROLL for (int c = 0; c < vectors; c++) sum[i][c] = from ? load(y + i * y_stride + c * VL) : (V){0};
	}
	for (int64_t j = from; j < to; j++) {
		UNROLL for (int c = 0; c < vectors; c++) {
			V value = load(v + j * v_stride + c * VL);
			UNROLL for (int i = 0; i < rows; i++) sum[i][c] += splat(p[i * p_stride + j]) * value;
		}
	}
	UNROLL for (int i = 0; i < rows; i++) {
		UNROLL for (int c = 0; c < vectors; c++) store(y + i * y_stride + c * VL, sum[i][c]);
	}
}

// mix_columns does the same for a whole head.
INLINE void mix_columns(const int rows, const float *p, int64_t p_stride, const float *v, int64_t v_stride, int64_t from, int64_t to, float *y, int64_t y_stride, int64_t width) {
	int64_t c = 0;
	for (; width - c >= 4 * VL; c += 4 * VL) mix(rows, 4, p, p_stride, v + c, v_stride, from, to, y + c, y_stride);
	for (; width - c >= 2 * VL; c += 2 * VL) mix(rows, 2, p, p_stride, v + c, v_stride, from, to, y + c, y_stride);
	for (; c < width; c += VL) mix(rows, 1, p, p_stride, v + c, v_stride, from, to, y + c, y_stride);
}

// softmax turns n scores into weights that add up to the result; what lies behind n, up to a whole vector, is overwritten.
INLINE float softmax(float *s, int64_t n, float scale, const float *bias) {
	V most = splat(-INFINITY), total = {0};
	for (int64_t j = 0; j < n; j += VL) {
		V v = load(s + j) * scale;
		if (bias) v += load(bias + j);
		store(s + j, v);
		if (n - j < VL) {
			for (int64_t k = n; k < j + VL; k++) s[k] = -INFINITY;
		}
		most = larger(load(s + j), most);
	}
	float highest = largest_lane(most);
	for (int64_t j = 0; j < n; j += VL) {
		V e = exponential(load(s + j) - highest);
		store(s + j, e);
		total += e;
	}
	return sum_lanes(total);
}

// head is where one head's numbers lie: in the tensors, or in scratch padded to whole vectors.
typedef struct {
	const float *q, *k, *v;
	float *y;
	int64_t stride, y_stride, width;
} head;

// seen is the number of keys that query row i of a span sees.
INLINE int64_t seen(const medley_attend_job *j, const medley_span *s, int64_t i) {
	int64_t keys = s->k1 - s->k0;
	return j->causal ? medley_min(keys, s->q_pos + i + 1) : keys;
}

// attend_rows computes rows [i, i+rows) of a span, counted from its first.
INLINE void attend_rows(const medley_attend_job *j, const medley_span *s, const head *h, const float *bias, int64_t i, int64_t rows, float *scores) {
	int64_t common = seen(j, s, i), most = seen(j, s, i + rows - 1), stride = medley_ceil(j->max_keys, PANEL) * PANEL;
	all_dots(h->q, h->stride, rows, h->k, h->stride, most, h->width, 1, 0, scores, stride, 1);
	float inverse[QUERY_ROWS];
	for (int64_t r = 0; r < rows; r++) {
		const float *b = bias ? bias + j->bias_zero - (s->q_pos + i + r) : 0;
		inverse[r] = 1 / softmax(scores + r * stride, seen(j, s, i + r), j->scale, b);
	}
	if (rows == QUERY_ROWS) {
		mix_columns(QUERY_ROWS, scores, stride, h->v, h->stride, 0, common, h->y, h->y_stride, h->width);
	}
	for (int64_t r = 0; r < rows; r++) {
		// A causal row sees more keys than the rows before it.
		int64_t from = rows == QUERY_ROWS ? common : 0, to = seen(j, s, i + r);
		float *y = h->y + r * h->y_stride;
		if (from < to) mix_columns(1, scores + r * stride, stride, h->v, h->stride, from, to, y, h->y_stride, h->width);
		for (int64_t c = 0; c < h->width; c += VL) store(y + c, load(y + c) * inverse[r]);
	}
}

// gather copies a head's columns into rows of whole vectors.
static void gather(const float *from, int64_t stride, int64_t rows, int64_t width, float *to, int64_t to_stride) {
	for (int64_t r = 0; r < rows; r++) {
		for (int64_t c = 0; c < to_stride; c++) to[r * to_stride + c] = c < width ? from[r * stride + c] : 0;
	}
}

static int64_t attend_scratch(const medley_attend_job *j) {
	int64_t padded = medley_ceil(j->width, VL) * VL, floats = QUERY_ROWS * medley_ceil(j->max_keys, PANEL) * PANEL;
	if (padded != j->width) floats += (2 * j->max_keys + 2 * QUERY_ROWS) * padded;
	return floats * (int64_t)sizeof(float);
}

static void attend_task(void *arg, int64_t task, float *scratch) {
	const medley_attend_job *j = arg;
	const medley_span *s = &j->spans[task / j->heads];
	int64_t at = task % j->heads, stride = j->stride, keys = s->k1 - s->k0, padded = medley_ceil(j->width, VL) * VL;
	const float *bias = j->bias ? j->bias + at * j->distances : 0;
	const float *q = j->q + at * j->width, *k = j->k + s->k0 * stride + at * j->width, *v = j->v + s->k0 * stride + at * j->width;
	float *y = j->y + at * j->width;
	if (padded == j->width) {
		for (int64_t r = s->q0; r < s->q1; r += QUERY_ROWS) {
			head h = {q + r * stride, k, v, y + r * stride, stride, stride, padded};
			attend_rows(j, s, &h, bias, r - s->q0, medley_min(QUERY_ROWS, s->q1 - r), scratch);
		}
		return;
	}
	float *ks = scratch + QUERY_ROWS * medley_ceil(j->max_keys, PANEL) * PANEL, *vs = ks + keys * padded;
	float *qs = vs + keys * padded, *ys = qs + QUERY_ROWS * padded;
	gather(k, stride, keys, j->width, ks, padded);
	gather(v, stride, keys, j->width, vs, padded);
	for (int64_t r = s->q0; r < s->q1; r += QUERY_ROWS) {
		int64_t rows = medley_min(QUERY_ROWS, s->q1 - r);
		gather(q + r * stride, stride, rows, j->width, qs, padded);
		head h = {qs, ks, vs, ys, padded, padded, padded};
		attend_rows(j, s, &h, bias, r - s->q0, rows, scratch);
		for (int64_t i = 0; i < rows; i++) gather(ys + i * padded, padded, 1, j->width, y + (r + i) * stride, j->width);
	}
}
