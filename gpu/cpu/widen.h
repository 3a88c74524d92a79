// Narrow weights as f32. Processors with vectors are little-endian, so the first of a pair is the low half.

// half_floats turns the lower 16 bits of every lane into f32. None is infinite.
INLINE V half_floats(I h) {
	V normal = (V)(((h & 0x7fff) << 13) + (112 << 23)), small = __builtin_convertvector(h & 1023, V) * 0x1p-24f;
	return (V)((I)choose((h & 0x7c00) == 0, small, normal) | (h & 0x8000) << 16);
}

// bytes takes VL numbers of 8 bits apart.
INLINE V bytes(const char *p, int is_signed) {
	float wide[VL];
	for (int i = 0; i < VL; i++) wide[i] = is_signed ? (float)(signed char)p[i] : (float)(unsigned char)p[i];
	return load(wide);
}

// upper returns the bits above the fourth of number i of eight e.
INLINE I upper(const int64_t storage, const float *high, int e, int i) {
	int byte = i / 2 * 8, group = 2 * e + i % 2;
	switch (storage) {
	case BLOCKS5:
	case SUPER5: return (((I)load(high) >> (byte + group)) & 1) << 4;
	case SUPER6: return (((I)load(high + e / 2 * PANEL) >> (byte + group % 4 * 2)) & 3) << 4;
	}
	return (I){0};
}

// widen_block turns one block of rows into f32 [BLOCK][32]. super is that of its super-block.
INLINE void widen_block(const int64_t storage, const char *super, const char *b, float *out) {
	for (int c = 0; c < PANEL; c += VL) {
		I pair = (I)load((const float *)(storage >= SUPER4 ? super : b) + c);
		V scale = half_floats(pair), offset = half_floats(pair >> 16), second = scale;
		const char *integers = b + (storage >= SUPER4 ? 2 : 4) * PANEL + 4 * c;
		if (storage == BLOCKS8) scale = (V)pair;
		if (storage == SUPER6) second = (V)pair * bytes(b + PANEL + c, 1), scale = (V)pair * bytes(b + c, 1);
		else if (storage >= SUPER4) scale *= bytes(b + c, 0), offset *= -bytes(b + PANEL + c, 0);
		const float *words = (const float *)integers, *high = words + BLOCK / 8 * PANEL;
		for (int k = 0; storage == BLOCKS8 && k < BLOCK; words += PANEL) {
			I four = (I)load(words);
			UNROLL for (int i = 0; i < 4; i++, k++) store(out + k * PANEL + c, __builtin_convertvector((four << (24 - 8 * i)) >> 24, V) * scale);
		}
		UNROLL for (int e = 0; storage != BLOCKS8 && e < BLOCK / 8; e++) {
			I eight = (I)load(words + e * PANEL);
			UNROLL for (int i = 0; i < 8; i++) {
				I q = ((eight >> 4 * i) & 15) | upper(storage, high, e, i);
				V number = storage == SUPER6 ? __builtin_convertvector(q - 32, V) * (e < 2 ? scale : second) : __builtin_convertvector(q, V) * scale + offset;
				store(out + (8 * e + i) * PANEL + c, number);
			}
		}
	}
}

#define WIDEN_BLOCKS(form) \
	case form: \
		for (int64_t i = 0; i < n; i += BLOCK, b += bytes) { \
			if (i % (SUPER * BLOCK) == 0) super = b, b += medley_super_bytes(form); \
			widen_block(form, super, b, out + i * PANEL); \
		} \
		break;

// widen_blocks turns blocks into f32; of super-blocks whole ones.
static void widen_blocks(int64_t storage, const char *b, int64_t n, float *out) {
	int64_t bytes = medley_block_bytes(storage);
	const char *super = b;
	switch (storage) { WIDEN_BLOCKS(BLOCKS8) WIDEN_BLOCKS(BLOCKS4) WIDEN_BLOCKS(BLOCKS5) WIDEN_BLOCKS(SUPER4) WIDEN_BLOCKS(SUPER5) WIDEN_BLOCKS(SUPER6) }
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
		const char *blocks = (const char *)p->w + panel * medley_blocks_bytes(p->storage, p->in / BLOCK);
		widen_blocks(p->storage, blocks + medley_blocks_bytes(p->storage, k / BLOCK), n, out);
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
