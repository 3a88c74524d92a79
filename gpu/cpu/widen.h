// Narrow weights as f32. Processors with vectors are little-endian, so the first of a pair is the low half.

// widen turns rows [k, k+n) of a panel into f32 [n][32], whole groups of rows at a time. k is a multiple of WIDENED.
static const float *widen(const medley_product *p, int64_t panel, int64_t k, int64_t n, float *out) {
	if (p->storage == BFLOAT16) {
		const char *pairs = (const char *)p->w + (panel * medley_narrow_rows(BFLOAT16, p->in) + k) * PANEL * 2;
		for (int64_t i = 0; i < n * PANEL; i += 2 * PANEL) {
			for (int c = 0; c < PANEL; c += VL, pairs += 4 * VL) {
				I pair = (I)load((const float *)pairs);
				store(out + i + c, (V)(pair << 16));
				store(out + i + PANEL + c, (V)(pair & -65536));
			}
		}
		return out;
	}
	const char *fours = (const char *)p->w + (panel * medley_narrow_rows(INT8, p->in) + k) * PANEL;
	const float *scales = p->scales + panel * PANEL;
	for (int64_t i = 0; i < n * PANEL; i += 4 * PANEL) {
		for (int c = 0; c < PANEL; c += VL, fours += 4 * VL) {
			I four = (I)load((const float *)fours);
			V scale = load(scales + c);
			for (int r = 0; r < 4; r++) store(out + i + r * PANEL + c, __builtin_convertvector((four << (24 - 8 * r)) >> 24, V) * scale);
		}
	}
	return out;
}
