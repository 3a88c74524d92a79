// Composing before multiplying. A segment that asks for LoraHub's product gets the sums of its factors, one term in the place of many.
// One with rows enough gets a weight of its own, w + Σ weight·scale·B·A: that takes rank·in·out multiply-adds once, where its rows would
// take rank·(in + out) each.

static void sum_f32(const medley_term *terms, int64_t count, int b, int64_t first, int64_t n, float *to) {
	for (int64_t t = 0; t < count; t++) {
		const float *from = (const float *)(b ? terms[t].b : terms[t].a) + first;
		for (int64_t i = 0; i < n; i += VL) store(to + i, (t ? load(to + i) : (V){0}) + terms[t].weight * load(from + i));
	}
}

// sum_factors does its share of the segment's own A or B, which hold that many numbers; to points to the first.
static void sum_factors(const medley_linear_job *j, const medley_segment *g, int64_t share, int b, int64_t numbers, char *to) {
	int64_t size = j->updater ? sizeof(uint16_t) : sizeof(float), panels = numbers / PANEL;
	int64_t last = panels * (share + 1) / j->shares * PANEL;
	for (int64_t i = panels * share / j->shares * PANEL; i < last; i += SUM_NUMBERS) {
		int64_t n = medley_min(SUM_NUMBERS, last - i);
		if (j->updater) j->updater->sum(j->terms + g->term0, g->terms, b, i, n, to + i * size);
		else sum_f32(j->terms + g->term0, g->terms, b, i, n, (float *)(to + i * size));
	}
}

// merge makes its share of the segment's own weight, some rows of every panel.
static void merge(const medley_linear_job *j, const medley_segment *g, int64_t share, float *scratch) {
	int64_t row0 = j->in * share / j->shares, row1 = j->in * (share + 1) / j->shares, panels = medley_ceil(j->out, PANEL);
	linear_scratch memory = scratch_of(scratch);
	part s = {.job = j, .column = row0, .y = (float *)g->own + row0 * PANEL, .y_stride = PANEL, .pitch = j->in * PANEL, .rows = row1 - row0, .panel1 = panels};
	for (int64_t p = 0; p < panels; p++) {
		__builtin_memcpy(s.y + p * s.pitch, (const float *)j->w + (p * j->in + row0) * PANEL, (size_t)(s.rows * PANEL) * sizeof(float));
	}
	add_delta(&s, j->terms + g->term0, g->terms, &memory);
}

static void compose_task(void *arg, int64_t task, float *scratch) {
	const medley_linear_job *j = arg;
	const medley_segment *g = &j->segments[task / j->shares];
	int64_t share = task % j->shares;
	if (!g->own) return;
	if (g->product) {
		medley_factor f = medley_factor_numbers(j, j->terms[g->term0].rank);
		sum_factors(j, g, share, 0, f.a, g->own);
		sum_factors(j, g, share, 1, f.b, (char *)g->own + f.a * f.size);
	} else {
		merge(j, g, share, scratch);
	}
}
