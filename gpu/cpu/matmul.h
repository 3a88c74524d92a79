// Products with packed panels. A tile is up to MR rows of one panel of 32 columns (in strips of STRIP columns where the
// registers hold no more). Every result is one chain of multiply-adds in ascending k, whatever the number of rows in its tile
// and wherever k is cut, so a row's result does not depend on its neighbours.

enum { STRIP = 2 * VL };

// block is one stretch of k: b points to its first row in panel 0.
typedef struct {
	const float *b;
	int64_t panel, k; // floats from one panel to the next; rows
} block;

// tile computes y (rows x 32) = a·b, or adds to y. a is packed [k][rows] over all blocks.
INLINE void tile(const int rows, const float *a, const block *blocks, int count, int64_t panel, float *y, int64_t stride, int add) {
	for (int strip = 0; strip < PANEL; strip += STRIP) {
		V sum[MR][2];
		const float *ap = a;
		UNROLL for (int i = 0; i < rows; i++) {
			UNROLL for (int c = 0; c < 2; c++) {
				sum[i][c] = add ? load(y + i * stride + strip + c * VL) : (V){0};
			}
		}
		for (int n = 0; n < count; n++) {
			const float *bp = blocks[n].b + panel * blocks[n].panel + strip;
			for (int64_t k = blocks[n].k; k > 0; k--, bp += PANEL, ap += rows) {
				V b0 = load(bp), b1 = load(bp + VL);
				__builtin_prefetch(bp + 12 * PANEL);
				if (STRIP > 16) __builtin_prefetch(bp + 12 * PANEL + 16);
				__builtin_prefetch(ap + 112);
				UNROLL for (int i = 0; i < rows; i++) {
					V s = splat(ap[i]);
					sum[i][0] += s * b0;
					sum[i][1] += s * b1;
				}
			}
		}
		UNROLL for (int i = 0; i < rows; i++) {
			UNROLL for (int c = 0; c < 2; c++) store(y + i * stride + strip + c * VL, sum[i][c]);
		}
	}
}

typedef void (*tile_function)(const float *, const block *, int, int64_t, float *, int64_t, int);

#define TILE(rows)                                                                                                              \
	static void tile_##rows(const float *a, const block *b, int count, int64_t panel, float *y, int64_t stride, int add) { \
		tile(rows, a, b, count, panel, y, stride, add);                                                                 \
	}
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if MR > 6
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#endif

static const tile_function tiles[MR + 1] = {
	0, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if MR > 6
	tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
};

// Rows are spread evenly over as few tiles as hold them, so that no tile is nearly empty.
INLINE int64_t tile_count(int64_t rows) { return medley_ceil(rows, MR); }
INLINE int64_t tile_start(int64_t rows, int64_t i) { return rows * i / tile_count(rows); }

// pack_tile stores rows of x as [k][rows]. Whole vectors are stored, and what they spill is overwritten by the next: VL floats
// after the end must be free.
INLINE void pack_tile(const float *x, int64_t stride, int64_t rows, int64_t k, float *out) {
	enum { GROUPS = (MR + VL - 1) / VL };
	for (int64_t k0 = 0; k0 < k; k0 += VL) {
		V m[GROUPS][VL];
		for (int g = 0; g < GROUPS; g++) {
			UNROLL for (int i = 0; i < VL; i++) m[g][i] = load(x + medley_min(g * VL + i, rows - 1) * stride + k0);
			transpose(m[g]);
		}
		int64_t n = medley_min(VL, k - k0);
		for (int i = 0; i < n; i++, out += rows) {
			for (int g = 0; g < GROUPS && g * VL < rows; g++) store(out + g * VL, m[g][i]);
		}
	}
}

// wide_product computes in f32. Narrow weights are turned into f32, one panel at a time for all the rows.
static void wide_product(const medley_product *p) {
	int narrow = p->storage != FLOAT32;
	int64_t whole = DEEP, depth = narrow ? WIDENED : whole, count = tile_count(p->rows);
	float *widened = p->packed, *packed = p->packed + WIDENED * PANEL;
	for (int64_t k = 0; k < p->in; k += depth) {
		int64_t first = k / whole * whole, length = medley_min(whole, p->in - first), n = medley_min(depth, first + length - k);
		for (int64_t i = p->again && p->in <= DEEP ? count : 0; k == first && i < count; i++) {
			int64_t r = tile_start(p->rows, i);
			pack_tile(p->x + r * p->x_stride + k, p->x_stride, tile_start(p->rows, i + 1) - r, length, packed + r * length);
		}
		for (int64_t panel = p->panel0; panel < p->panel1; panel++) {
			block b = {(const float *)p->w + (panel * p->in + k) * PANEL, 0, n};
			if (narrow) b.b = widen(p, panel, k, n, widened);
			for (int64_t i = 0; i < count; i++) {
				int64_t r = tile_start(p->rows, i), height = tile_start(p->rows, i + 1) - r;
				const float *a = packed + r * length + (k - first) * height;
				tiles[height](a, &b, 1, 0, p->y + r * p->y_stride + (panel - p->panel0) * PANEL, p->y_stride, k > 0);
			}
		}
	}
}

INLINE void product(const medley_product *p, const medley_unit *unit) {
	if (unit) unit->product(p);
	else wide_product(p);
}
