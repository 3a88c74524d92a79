// One vector of VL floats, in the vector extensions that gcc and clang share. Included once per instruction set, after VL.

typedef float V __attribute__((vector_size(4 * VL)));
typedef int32_t I __attribute__((vector_size(4 * VL)));
typedef float unaligned_V __attribute__((vector_size(4 * VL), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE V load(const float *p) { return *(const unaligned_V *)p; }
INLINE void store(float *p, V v) { *(unaligned_V *)p = v; }
INLINE V splat(float x) { return x - (V){0}; }
INLINE V choose(I mask, V a, V b) { return (V)(((I)a & mask) | ((I)b & ~mask)); }
INLINE V larger(V a, V b) { return choose(a > b, a, b); }

#if VL == 16
#define LANES(F, s) F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s), F(8, s), F(9, s), F(10, s), F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)
#elif VL == 8
#define LANES(F, s) F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s)
#else
#define LANES(F, s) F(0, s), F(1, s), F(2, s), F(3, s)
#endif
#define LOW(l, s) ((l) & (s) ? VL + (l) - (s) : (l))
#define HIGH(l, s) ((l) & (s) ? VL + (l) : (l) + (s))

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, F, s) __builtin_shufflevector(a, b, LANES(F, s))
#endif
#endif
#ifndef SHUFFLE // gcc before 12
#define SHUFFLE(a, b, F, s) __builtin_shuffle(a, b, (I){LANES(F, s)})
#endif

// exchange transposes the 2x2 blocks of lanes l and l+s of two vectors: the step of every butterfly below.
#define EXCHANGE(a, b, s, low, high) V low = SHUFFLE(a, b, LOW, s), high = SHUFFLE(a, b, HIGH, s)

#define TRANSPOSE_STEP(m, s)                          \
	UNROLL for (int i = 0; i < VL; i++) if (!(i & s)) { \
		EXCHANGE(m[i], m[i + s], s, low, high);         \
		m[i] = low, m[i + s] = high;                    \
	}

// transpose exchanges rows and columns of a VL x VL matrix.
INLINE void transpose(V m[VL]) {
	TRANSPOSE_STEP(m, 1)
	TRANSPOSE_STEP(m, 2)
#if VL > 4
	TRANSPOSE_STEP(m, 4)
#endif
#if VL > 8
	TRANSPOSE_STEP(m, 8)
#endif
}

#define ADD_STEP(m, s)                                     \
	UNROLL for (int i = 0; i < VL; i += 2 * s) {             \
		EXCHANGE(m[i], m[i + s], s, low, high);              \
		m[i] = low + high;                                   \
	}

// sums returns the VL sums over the lanes of VL vectors. Each is added up in the same tree wherever it stands.
INLINE V sums(V m[VL]) {
	ADD_STEP(m, 1)
	ADD_STEP(m, 2)
#if VL > 4
	ADD_STEP(m, 4)
#endif
#if VL > 8
	ADD_STEP(m, 8)
#endif
	return m[0];
}

INLINE float sum_lanes(V v) {
	float lane[VL], sum = 0;
	store(lane, v);
	for (int i = 0; i < VL; i++) sum += lane[i];
	return sum;
}

INLINE float largest_lane(V v) {
	float lane[VL];
	store(lane, v);
	float most = lane[0];
	for (int i = 1; i < VL; i++) most = lane[i] > most ? lane[i] : most;
	return most;
}

// exponential is e^x to about 1e-7, for x clamped to [-87, 88]: x = n ln 2 + r, and e^r by its Taylor polynomial on
// abs(r) <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. NaN stays NaN.
INLINE V exponential(V x) {
	const float round = 12582912.0f;
	x = choose(x < -87.0f, splat(-87.0f), x);
	x = choose(x > 88.0f, splat(88.0f), x);
	V shifted = x * 1.44269504f + round;
	V n = shifted - round;
	V r = x - n * 0.693359375f; // ln 2 in two parts; this one has few bits, so the product is exact
	r = r + n * 2.12194440e-4f;
	V p = r * (1.0f / 5040) + 1.0f / 720;
	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	I power = ((I)shifted - 0x4B400000 + 127) << 23;
	return p * (V)power;
}
