// A plugin optimizer for Medley: the guest interface, version 1, over the (1+lambda) evolution strategy with the one-fifth success rule
// (Rechenberg, "Evolutionsstrategie", 1973). It mutates the best point in every weight, widens the mutations when one in five or more
// succeeds, else narrows them; lambda is what is asked for at once. To make a plugin of your own, replace what this file does between
// the exported functions; memory.c and config.c can stay.
//
// One instance of the module is one optimizer. Candidates are rows of dim numbers, f64, little-endian. The host promises that a pointer
// leads to as much memory as the call needs and that it comes from opt_alloc, 8-aligned.
//
// Everything is sums and products of f64 in a fixed order, so every machine and every language computes the same bits.
#include "plugin.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

// Four failures undo a success, so the width holds still at a success in five.
static const double first_sigma = 0.3, least_sigma = 0.001, most_sigma = 1.0;
static const double widen = 1.5, narrow = 0.9036020036098448; // the inverse of the fourth root of widen

static bool created;
static struct config config;
static uint64_t random_state;
static double sigma; // standard deviation of a mutation, as a share of a third of a weight's range
static int asked;
static struct list pending; // rows that were asked and not answered
static double *best;        // [dim]
static double best_f;
static bool known; // there is a best point

const char *last_error = "";

int refuse(int code, const char *why)
{
	last_error = why;
	return code;
}

size_t length(const char *text)
{
	size_t n = 0;
	while (text[n])
		n++;
	return n;
}

static bool is_finite(double v) { return v - v == 0; }

// random is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
static uint64_t random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

// normal returns the sum of twelve uniform numbers less 6, of mean 0 and variance 1: near enough to a Gaussian, and without a logarithm.
static double normal(void)
{
	double sum = -6;
	for (int i = 0; i < 12; i++)
		sum += (double)(random() >> 11) / (double)(1ull << 53);
	return sum;
}

// propose fills a row: 0 first, and then mutations of the best point, of 0 before there is one.
static void propose(double *row)
{
	for (int i = 0; i < config.dim; i++) {
		double v = 0;
		if (asked > 0) {
			double third = (config.upper.at[i] - config.lower.at[i]) / 3;
			v = (known ? best[i] : 0) + sigma * third * normal();
		}
		row[i] = clip(&config, i, v) + 0.0; // + 0 turns -0 into 0
	}
	asked++;
}

static void copy(double *to, const double *from)
{
	for (int i = 0; i < config.dim; i++)
		to[i] = from[i];
}

static bool equal(const double *a, const double *b)
{
	for (int i = 0; i < config.dim; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

// answer strikes a row off the pending ones and says whether it was there.
static bool answer(const double *row)
{
	for (int i = 0; i < pending.len; i++) {
		double *at = pending.at + (size_t)i * config.dim;
		if (equal(at, row)) {
			pending.len--;
			copy(at, pending.at + (size_t)pending.len * config.dim);
			return true;
		}
	}
	return false;
}

static void learn(const double *row, double f)
{
	bool answered = answer(row), first = !known, better = is_finite(f) && (!known || f < best_f);
	if (better) {
		copy(best, row);
		best_f = f;
		known = true;
	}
	if (!answered || first)
		return; // a warm start, or the first point: neither says anything of the width
	if (better)
		sigma = sigma * widen < most_sigma ? sigma * widen : most_sigma;
	else
		sigma = sigma * narrow > least_sigma ? sigma * narrow : least_sigma;
}

// The version of the interface, major<<16 | minor.
int EXPORT(opt_abi_version)(void) { return 1 << 16; }

void *EXPORT(opt_alloc)(size_t n) { return allocate(n); }

void EXPORT(opt_free)(void *p, size_t n)
{
	(void)n; // a block knows its size
	release(p);
}

// lend is text as the host reads it: pointer in the high half, length in the low one.
static uint64_t lend(const char *text) { return (uint64_t)(size_t)text << 32 | length(text); }

// Says what the plugin is, where 0 stands for no limit and no preference. Change the version with every change of the candidates: a
// recorded search resumes only with the one that began it.
uint64_t EXPORT(opt_info)(void)
{
	return lend("{\"name\":\"es\",\"version\":\"1\",\"wants_aux\":false,\"max_dim\":0,\"preferred_batch\":0}");
}

// Why the last refused call was refused.
uint64_t EXPORT(opt_last_error)(void) { return lend(last_error); }

// Makes the optimizer for the problem in n bytes of JSON. After a refusal it may be called again.
int EXPORT(opt_create)(const char *json, size_t n)
{
	if (created)
		return refuse(BAD_STATE, "there is an optimizer already: an instance holds one");
	int code = read_config(&config, json, n);
	if (code == 0 && !(best = allocate((size_t)config.dim * sizeof *best)))
		code = refuse(NO_MEMORY, "no memory for the best point");
	if (code != 0) {
		release_config(&config);
		config = (struct config){0};
		return code;
	}
	random_state = config.seed;
	sigma = first_sigma;
	created = true;
	return 0;
}

// Writes at most k candidates to x and returns how many; 0 ends the search.
int EXPORT(opt_ask)(double *x, int k)
{
	if (!created)
		return refuse(BAD_STATE, "there is no optimizer yet: create one");
	if (k < 1)
		return refuse(BAD_ARGUMENT, "k must be at least 1");
	if (pending.len > 0)
		return refuse(BAD_STATE, "asked again before every candidate was answered");
	if (k > config.budget - asked)
		k = config.budget - asked;
	if (k > pending.room) {
		release(pending.at);
		pending.room = 0;
		pending.at = allocate((size_t)k * config.dim * sizeof *x);
		if (!pending.at)
			return refuse(NO_MEMORY, "no memory for so many candidates");
		pending.room = k;
	}
	for (; pending.len < k; pending.len++) {
		double *row = x + (size_t)pending.len * config.dim;
		propose(row);
		copy(pending.at + (size_t)pending.len * config.dim, row);
	}
	return k;
}

// Takes the objectives f of k candidates x, asked ones or others; NaN is a failed evaluation. With wants_aux in opt_info, aux would be m
// log-probabilities of target tokens for each candidate, NaN where they are unknown. Nothing changes if one of them is refused.
int EXPORT(opt_tell)(const double *x, const double *f, int k, const double *aux, int m)
{
	(void)aux, (void)m;
	if (!created)
		return refuse(BAD_STATE, "there is no optimizer yet: create one");
	if (k < 0)
		return refuse(BAD_ARGUMENT, "k must be at least 0");
	for (int i = 0; i < k; i++)
		for (int j = 0; j < config.dim; j++) {
			double v = x[(size_t)i * config.dim + j];
			if (!(v >= config.lower.at[j] && v <= config.upper.at[j]))
				return refuse(BAD_ARGUMENT, "told a candidate that is outside the bounds");
		}
	for (int i = 0; i < k; i++)
		learn(x + (size_t)i * config.dim, f[i]);
	return 0;
}

// Writes the candidate to use to x and its objective to f: 1 if it was observed, 2 if it is predicted, 0 if there is none yet.
int EXPORT(opt_best)(double *x, double *f)
{
	if (!created)
		return refuse(BAD_STATE, "there is no optimizer yet: create one");
	if (!known)
		return 0;
	copy(x, best);
	*f = best_f;
	return 1;
}
