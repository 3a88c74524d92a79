// Attention for some query rows of one span and one head: scores, softmax, mix.

enum {
	QUERY_ROWS = 4,                              // rows mixed at a time
	ATTEND_ROWS = MR / QUERY_ROWS * QUERY_ROWS, // rows of scores at a time
};

// stretch is keys or values by number: rows in one stretch, or in pages.
typedef struct {
	const float *rows;
	int64_t stride;
	const int32_t *pages; // NULL for one stretch
} stretch;

_Static_assert(PAGE_ROWS % PANEL == 0, "a panel of keys is in one page");

// moved is how many rows further on than its number the row of number j is, in one stretch or in its page.
INLINE int64_t moved(stretch v, int64_t j) { return v.pages ? (v.pages[j / PAGE_ROWS] - j / PAGE_ROWS) * PAGE_ROWS : 0; }

// mix sets rows x (vectors·VL) columns of y to Σ_j p[i][j]·v[j] over keys [from, to), or adds that: one chain per result, in ascending j.
INLINE void mix(const int rows, const int vectors, const float *p, int64_t p_stride, stretch v, int64_t column, int64_t from, int64_t to, int add, float *y, int64_t y_stride) {
	V sum[QUERY_ROWS][4];
	UNROLL for (int i = 0; i < rows; i++) {
		UNROLL for (int c = 0; c < vectors; c++) sum[i][c] = add ? load(y + i * y_stride + c * VL) : (V){0};
	}
	for (int64_t j = from; j < to;) {
		int64_t further = moved(v, j), end = v.pages ? medley_min(to, (j / PAGE_ROWS + 1) * PAGE_ROWS) : to;
		for (; j < end; j++) {
			UNROLL for (int c = 0; c < vectors; c++) {
				V value = load(v.rows + (further + j) * v.stride + column + c * VL);
				UNROLL for (int i = 0; i < rows; i++) sum[i][c] += splat(p[i * p_stride + j]) * value;
			}
		}
	}
	UNROLL for (int i = 0; i < rows; i++) {
		UNROLL for (int c = 0; c < vectors; c++) store(y + i * y_stride + c * VL, sum[i][c]);
	}
}

// mix_columns does the same for a whole head.
INLINE void mix_columns(const int rows, const float *p, int64_t p_stride, stretch v, int64_t from, int64_t to, int add, float *y, int64_t y_stride, int64_t width) {
	int64_t c = 0;
	for (; width - c >= 4 * VL; c += 4 * VL) mix(rows, 4, p, p_stride, v, c, from, to, add, y + c, y_stride);
	for (; width - c >= 2 * VL; c += 2 * VL) mix(rows, 2, p, p_stride, v, c, from, to, add, y + c, y_stride);
	for (; c < width; c += VL) mix(rows, 1, p, p_stride, v, c, from, to, add, y + c, y_stride);
}

// mix_together mixes up to QUERY_ROWS rows.
static void mix_together(int64_t rows, const float *p, int64_t p_stride, stretch v, int64_t from, int64_t to, float *y, int64_t y_stride, int64_t width) {
	switch (rows) {
	case 1: mix_columns(1, p, p_stride, v, from, to, 0, y, y_stride, width); break;
	case 2: mix_columns(2, p, p_stride, v, from, to, 0, y, y_stride, width); break;
	case 3: mix_columns(3, p, p_stride, v, from, to, 0, y, y_stride, width); break;
	default: mix_columns(QUERY_ROWS, p, p_stride, v, from, to, 0, y, y_stride, width);
	}
}

// softmax turns scores [from, n) into weights that add up to the result; those before become 0, and what lies behind n, up to a whole
// vector, is overwritten.
INLINE float softmax(float *s, int64_t from, int64_t n, float scale, const float *bias) {
	V most = splat(-INFINITY), total = {0};
	int64_t first = from / VL * VL;
	for (int64_t j = first; j < n; j += VL) {
		V v = load(s + j) * scale;
		if (bias) v += load(bias + j);
		store(s + j, v);
		if (n - j < VL) {
			for (int64_t k = n; k < j + VL; k++) s[k] = -INFINITY;
		}
		for (int64_t k = j; k < from; k++) s[k] = -INFINITY;
		most = larger(load(s + j), most);
	}
	float highest = largest_lane(most);
	for (int64_t j = first; j < n; j += VL) {
		store(s + j, exponential(load(s + j) - highest));
		for (int64_t k = j; k < from; k++) s[k] = 0;
		total += load(s + j);
	}
	for (int64_t j = 0; j < first; j++) s[j] = 0;
	return sum_lanes(total);
}

// head is where one head's numbers lie: in the tensors, or in scratch padded to whole vectors.
typedef struct {
	const float *q;
	stretch k, v;
	float *y;
	int64_t q_stride, y_stride, width;
} head;

// seen is the number of keys that query row i of a span sees.
INLINE int64_t seen(const medley_attend_job *j, const medley_span *s, int64_t i) {
	int64_t keys = s->k1 - s->k0;
	return j->causal ? medley_min(keys, s->q_pos + i + 1) : keys;
}

// unseen is the number of keys before the first that query row i sees.
INLINE int64_t unseen(const medley_attend_job *j, const medley_span *s, int64_t i) {
	return j->window ? medley_max(0, s->q_pos + i + 1 - j->window) : 0;
}

// pack_keys lays a panel of 32 keys out as a weight is, [width][32]. The last key fills the panel up.
static void pack_keys(stretch k, int64_t first, int64_t keys, int64_t width, float *out) {
	int64_t further = moved(k, first);
	for (int64_t g = 0; g < PANEL; g += VL) {
		for (int64_t c = 0; c < width; c += VL) {
			V m[VL];
			UNROLL for (int i = 0; i < VL; i++) m[i] = load(k.rows + (further + medley_min(first + g + i, keys - 1)) * k.stride + c);
			transpose(m);
			UNROLL for (int i = 0; i < VL; i++) store(out + (c + i) * PANEL + g, m[i]);
		}
	}
}

// attend_memory is where a task keeps its intermediate results.
typedef struct {
	float *keys;   // packed as far as they have been needed
	float *query;  // [width][rows], packed
	float *scores; // [ATTEND_ROWS][stride]
	int64_t stride, packed; // packed: the panel of keys to pack next
} attend_memory;

// attend_rows computes rows [i, i+rows) of a span, counted from its first; at most ATTEND_ROWS. With a step of 0 they are all at position i:
// the heads of one row that share keys and values.
static void attend_rows(const medley_attend_job *j, const medley_span *s, const head *h, const float *bias, int64_t i, int64_t rows, int64_t step, attend_memory *m) {
	block b = {m->keys, h->width * PANEL, h->width};
	pack_tile(h->q, h->q_stride, rows, h->width, m->query);
	for (int64_t p = unseen(j, s, i) / PANEL; p * PANEL < seen(j, s, i + (rows - 1) * step); p++) {
		if (p == m->packed) pack_keys(h->k, PANEL * m->packed++, s->k1 - s->k0, h->width, m->keys + p * PANEL * h->width);
		tiles[rows](m->query, &b, 1, p, m->scores + p * PANEL, m->stride, 0);
	}
	for (int64_t first = 0; first < rows; first += QUERY_ROWS) {
		int64_t n = medley_min(QUERY_ROWS, rows - first), start = unseen(j, s, i + first * step), common = seen(j, s, i + first * step);
		float *scores = m->scores + first * m->stride, *y = h->y + first * h->y_stride, inverse[QUERY_ROWS];
		for (int64_t r = 0; r < n; r++) {
			int64_t at = i + (first + r) * step;
			const float *by = bias ? bias + j->bias_zero - (s->q_pos + at) : 0;
			inverse[r] = 1 / softmax(scores + r * m->stride, unseen(j, s, at), seen(j, s, at), j->scale, by);
		}
		int together = n == QUERY_ROWS || step == 0;
		if (together) mix_together(n, scores, m->stride, h->v, start, common, y, h->y_stride, h->width);
		for (int64_t r = 0; r < n; r++, y += h->y_stride) {
			// A causal row sees more keys than the rows before it.
			int64_t from = together ? common : start, to = seen(j, s, i + (first + r) * step);
			if (from < to) mix_columns(1, scores + r * m->stride, m->stride, h->v, from, to, together, y, h->y_stride, h->width);
			for (int64_t c = 0; c < h->width; c += VL) store(y + c, load(y + c) * inverse[r]);
		}
	}
}

// gather copies a head's columns into rows of whole vectors.
static void gather(const float *from, int64_t stride, int64_t rows, int64_t width, float *to, int64_t to_stride) {
	for (int64_t r = 0; r < rows; r++, to += to_stride) {
		__builtin_memcpy(to, from + r * stride, (uint64_t)width * sizeof(float));
		for (int64_t c = width; c < to_stride; c++) to[c] = 0;
	}
}

// gather_keys does that for keys or values.
static void gather_keys(stretch from, int64_t keys, int64_t width, float *to, int64_t to_stride) {
	int64_t together = from.pages ? PAGE_ROWS : keys;
	for (int64_t j = 0; j < keys; j += together) {
		gather(from.rows + (moved(from, j) + j) * from.stride, from.stride, medley_min(together, keys - j), width, to + j * to_stride, to_stride);
	}
}

static int64_t attend_scratch(const medley_attend_job *j) {
	int64_t padded = medley_ceil(j->width, VL) * VL, keys = medley_ceil(j->max_keys, PANEL) * PANEL;
	int64_t floats = (keys + ATTEND_ROWS) * padded + PANEL + ATTEND_ROWS * keys;
	if (padded != j->width) floats += (2 * keys + 2 * ATTEND_ROWS) * padded;
	return floats * (int64_t)sizeof(float);
}

// attend_head does a span for one head. qs is room for its queries and results, used if the head is padded, as k and v are then.
static void attend_head(const medley_attend_job *j, const medley_span *s, int64_t at, stretch k, stretch v, float *qs, attend_memory *m) {
	int64_t stride = j->stride, padded = medley_ceil(j->width, VL) * VL;
	const float *bias = j->bias ? j->bias + at * j->distances : 0, *q = j->q + at * j->width;
	float *y = j->y + at * j->width, *ys = qs + ATTEND_ROWS * padded;
	for (int64_t r = s->q0; r < s->q1; r += ATTEND_ROWS) {
		int64_t rows = medley_min(ATTEND_ROWS, s->q1 - r);
		if (padded == j->width) {
			head h = {q + r * stride, k, v, y + r * stride, stride, stride, padded};
			attend_rows(j, s, &h, bias, r - s->q0, rows, 1, m);
			continue;
		}
		gather(q + r * stride, stride, rows, j->width, qs, padded);
		head h = {qs, k, v, ys, padded, padded, padded};
		attend_rows(j, s, &h, bias, r - s->q0, rows, 1, m);
		for (int64_t i = 0; i < rows; i++) gather(ys + i * padded, padded, 1, j->width, y + (r + i) * stride, j->width);
	}
}

// attend_task does the heads of a span that share keys and values, which are packed once for all of them.
static void attend_task(void *arg, int64_t task, float *scratch) {
	const medley_attend_job *j = arg;
	int64_t shared_heads = j->heads / j->group, padded = medley_ceil(j->width, VL) * VL;
	const medley_span *s = &j->spans[task / shared_heads];
	int64_t shared = task % shared_heads, from = s->k0 * j->kv_stride + shared * j->width;
	const int32_t *pages = s->page0 < 0 ? NULL : j->pages + s->page0;
	stretch k = {j->k + from, j->kv_stride, pages}, v = {j->v + from, j->kv_stride, pages};
	int64_t keys = s->k1 - s->k0;
	attend_memory m = {.keys = scratch, .stride = medley_ceil(j->max_keys, PANEL) * PANEL, .packed = unseen(j, s, 0) / PANEL};
	m.scores = m.keys + m.stride * padded;
	m.query = m.scores + ATTEND_ROWS * m.stride;
	float *ks = m.query + ATTEND_ROWS * padded + PANEL, *vs = ks + keys * padded;
	if (padded != j->width) {
		gather_keys(k, keys, j->width, ks, padded);
		gather_keys(v, keys, j->width, vs, padded);
		k = (stretch){ks, padded, NULL}, v = (stretch){vs, padded, NULL};
	}
	if (s->q1 - s->q0 == 1 && padded == j->width && !j->bias) {
		int64_t at = s->q0 * j->stride + shared * j->group * j->width;
		for (int64_t g = 0; g < j->group; g += ATTEND_ROWS) {
			head h = {j->q + at + g * padded, k, v, j->y + at + g * padded, padded, padded, padded};
			attend_rows(j, s, &h, NULL, 0, medley_min(ATTEND_ROWS, j->group - g), 0, &m);
		}
		return;
	}
	for (int64_t g = 0; g < j->group; g++) attend_head(j, s, shared * j->group + g, k, v, vs + keys * padded, &m);
}
