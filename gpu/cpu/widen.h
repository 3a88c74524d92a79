// Narrow weights as f32. Processors with vectors are little-endian, so the first of a pair is the low half.

// half_floats turns the lower 16 bits of every lane into f32. None is infinite.
INLINE V half_floats(I h) {
	V normal = (V)(((h & 0x7fff) << 13) + (112 << 23)), small = __builtin_convertvector(h & 1023, V) * 0x1p-24f;
	return (V)((I)choose((h & 0x7c00) == 0, small, normal) | (h & 0x8000) << 16);
}

// widen_block turns one block of rows into f32 [BLOCK][32].
INLINE void widen_block(const int64_t storage, const char *b, float *out) {
	for (int c = 0; c < PANEL; c += VL) {
		I pair = (I)load((const float *)b + c);
		V scale = storage == BLOCKS8 ? (V)pair : half_floats(pair), offset = half_floats(pair >> 16);
		const float *integers = (const float *)b + PANEL + c;
		for (int k = 0; k < BLOCK; integers += PANEL) {
			I several = (I)load(integers);
			if (storage == BLOCKS8) {
				UNROLL for (int i = 0; i < 4; i++, k++) store(out + k * PANEL + c, __builtin_convertvector((several << (24 - 8 * i)) >> 24, V) * scale);
			} else {
				UNROLL for (int i = 0; i < 8; i++, k++) store(out + k * PANEL + c, __builtin_convertvector((several >> 4 * i) & 15, V) * scale + offset);
			}
		}
	}
}

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
	if (p->storage != INT8) {
		int64_t bytes = medley_block_bytes(p->storage);
		const char *b = (const char *)p->w + (panel * (p->in / BLOCK) + k / BLOCK) * bytes;
		for (int64_t i = 0; i < n; i += BLOCK, b += bytes) {
			if (p->storage == BLOCKS8) widen_block(BLOCKS8, b, out + i * PANEL);
			else widen_block(BLOCKS4, b, out + i * PANEL);
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
