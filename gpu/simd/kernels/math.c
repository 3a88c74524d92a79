// exp and log in double, to about 2 units in the last place, for the final sum of a log-softmax: x of exp is at most 0 there,
// and x of log at least 1.
#include <math.h>
#include <stdint.h>

typedef union {
	double value;
	int64_t bits;
} number;

// exp is 2^n · e^r with abs(r) <= ln 2 / 2, and e^r by its Taylor polynomial. NaN stays NaN.
double exp(double x) {
	if (x < -708) return 0;
	if (x > 709) return INFINITY;
	const double round = 6755399441055744.0; // 1.5 · 2^52: adding it rounds to an integer
	number shifted = {x * 1.4426950408889634 + round};
	double n = shifted.value - round;
	double r = x - n * 0.6931471803691238; // ln 2 in two parts; this one has few bits, so the product is exact
	r -= n * 1.9082149292705877e-10;
	double p = 1;
	for (int i = 13; i > 0; i--) p = p * r / i + 1;
	number power = {.bits = (shifted.bits + 1023) << 52};
	return p * power.value;
}

// log is e·ln 2 + ln m with m between √½ and √2, and ln m = 2·artanh((m-1)/(m+1)) by its series. x is a normal number, NaN or
// infinity.
double log(double x) {
	if (!(x < INFINITY)) return x;
	number m = {x};
	int64_t e = (m.bits - 0x3fe6a09e667f3bcd) >> 52;
	m.bits -= e << 52;
	double s = (m.value - 1) / (m.value + 1), square = s * s, sum = 0;
	for (int i = 23; i > 0; i -= 2) sum = sum * square + 1.0 / i;
	return 2 * s * sum + (double)e * 0.6931471805599453;
}
