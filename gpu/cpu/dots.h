// Inner products of rows with rows, both row-major: VL results at a time, vectors along k.

// dots returns Σ_k x[i][k]·a[j][k] at lane i·across + j, for rows·across = VL. k is a multiple of VL.
INLINE V dots(const int down, const int across, const float *const *x, const float *const *a, int64_t k) {
	V sum[VL];
	UNROLL for (int i = 0; i < VL; i++) sum[i] = (V){0};
	for (int64_t n = 0; n < k; n += VL) {
		V row[VL];
		UNROLL for (int i = 0; i < down; i++) row[i] = load(x[i] + n);
		UNROLL for (int j = 0; j < across; j++) {
			V column = load(a[j] + n);
			UNROLL for (int i = 0; i < down; i++) sum[i * across + j] += row[i] * column;
		}
	}
	return sums(sum);
}

// rows_by_rows computes down x across products (both already limited to one tile), times weight, into out[i·si + j·sj].
// Indexes beyond rows and count repeat the last one, and are not stored.
INLINE void rows_by_rows(const int down, const int across, const float *x, int64_t x_stride, int64_t rows, const float *a, int64_t a_stride, int64_t count, int64_t k, float weight, float *out, int64_t si, int64_t sj) {
	const float *xs[VL], *as[VL];
	float lane[VL];
	UNROLL for (int i = 0; i < down; i++) xs[i] = x + medley_min(i, rows - 1) * x_stride;
	UNROLL for (int j = 0; j < across; j++) as[j] = a + medley_min(j, count - 1) * a_stride;
	store(lane, dots(down, across, xs, as, k) * weight);
	for (int64_t i = 0; i < medley_min(rows, down); i++) {
		for (int64_t j = 0; j < medley_min(count, across); j++) out[i * si + j * sj] = lane[i * across + j];
	}
}

// all_dots computes out[i·si + j·sj] = weight · x_i·a_j for all rows i of x and j of a.
static void all_dots(const float *x, int64_t x_stride, int64_t rows, const float *a, int64_t a_stride, int64_t count, int64_t k, float weight, float *out, int64_t si, int64_t sj) {
	enum { DOWN = VL == 16 ? 4 : 2, ACROSS = VL / DOWN };
	int64_t i = 0;
	for (; rows - i > 1; i += medley_min(DOWN, rows - i)) {
		for (int64_t j = 0; j < count; j += ACROSS) {
			rows_by_rows(DOWN, ACROSS, x + i * x_stride, x_stride, rows - i, a + j * a_stride, a_stride, count - j, k, weight, out + i * si + j * sj, si, sj);
		}
	}
	for (int64_t j = 0; i < rows && j < count; j += VL) {
		rows_by_rows(1, VL, x + i * x_stride, x_stride, 1, a + j * a_stride, a_stride, count - j, k, weight, out + i * si + j * sj, si, sj);
	}
}
