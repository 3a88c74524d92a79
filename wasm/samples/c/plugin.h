// What the parts of the plugin share: memory, text and the configuration. There is no C library in a freestanding module.
#ifndef PLUGIN_H
#define PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The results that refuse a call.
enum { BAD_ARGUMENT = -1, UNSUPPORTED = -2, BAD_STATE = -3, NO_MEMORY = -4 };

// refuse keeps why, a literal, for opt_last_error and returns code.
int refuse(int code, const char *why);
extern const char *last_error;

size_t length(const char *text);

// allocate returns n bytes, 8-aligned, or NULL; release takes them back, or NULL.
void *allocate(size_t n);
void release(void *p);

// A list grows while it is read.
struct list {
	double *at;
	int len, room;
};

enum { MAX_DIM = 10000, MAX_BUDGET = 100000 };

// The problem to search, as opt_create is told it.
struct config {
	int dim;             // weights of a candidate
	int budget;          // candidates in all
	int batch;           // the most that are evaluated at once, a hint for the size of rounds
	uint64_t seed;       // everything random comes from it
	struct list lower;   // [dim], inclusive
	struct list upper;   // [dim], inclusive
	struct list init;    // [dim] or empty, the point to start from
	double l1;           // the objective holds l1*sum(|w|)
	int aux;             // log-probabilities that a score carries
	struct list groups;  // how many of them belong to each example, in order; empty if that is not known
};

// read_config fills c, which is zero, from n bytes of JSON; 0, or a code that refuses. release_config frees what it holds.
int read_config(struct config *c, const char *json, size_t n);
void release_config(struct config *c);

// clip moves v into the bounds of a weight.
double clip(const struct config *c, int weight, double v);

#endif
