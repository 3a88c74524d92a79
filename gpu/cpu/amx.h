// Products in the tiles of AMX (Intel's Advanced Matrix Extensions): registers of 16 rows of 64 bytes. Only amx*.c include this.
//
// Two by two of them hold 32 x 32 results. The left factor is packed in tiles [rows/16][k/32][16][32] of bf16, or
// [rows/16][k/64][16][64] of int8, rows beyond the last being zero; the right one is read from the panels as they are. Whatever
// the number of rows, a result is one chain of sums in ascending k, so a row's result does not depend on its neighbours.
//
// Terms of an update are bf16 for every storage of the weights. B is packed as a weight is. A [rank, in] is packed in halves of
// panels, [rank/16][in/2][16][2], so that modules of rank 16 fit side by side.
#ifndef MEDLEY_AMX_H
#define MEDLEY_AMX_H

#include "cpu.h"

enum {
	TILE_ROWS = 16,
	TILE_BYTES = 1024,
	HALF = 16,             // columns of half a panel
	HALF_BYTES = 64,       // of one row of tiles of the right factor, in half a panel
	AMX_DEEP = 2048,       // most k packed at a time, in bf16: as many bytes as DEEP in f32
	HIDDEN = RANK_GROUP + HALF, // floats from one row of hidden columns to the next; no power of two
};

// A panel of the right factor: its halves, and the bytes from one row of a half to the next.
typedef struct {
	const char *half[2];
	int64_t stride;
} amx_panel;

void amx_open(void);  // configures the tiles; until amx_close on the same thread
void amx_close(void); // gives the tiles back, so that nothing saves them when threads switch

// amx_pack stores rows of x as tiles of bf16.
void amx_pack(const float *x, int64_t stride, int64_t rows, int64_t k, char *packed);

// amx_multiply computes rows x 32 results in bf16 over steps of 32 k, or adds them to y. The tiles of the left factor start at a;
// pitch is the bytes from one 16 rows to the next.
void amx_multiply(const char *a, int64_t pitch, int64_t rows, int64_t steps, const amx_panel *b, float *y, int64_t stride, int add);

void amx_update(const medley_linear_job *j, const medley_segment *g, int64_t row0, int64_t rows, int64_t panel0, int64_t panel1, float *scratch);

// amx_sum is sum of medley_unit, in bf16: the sums are rounded once.
void amx_sum(const medley_term *terms, int64_t count, int b, int64_t first, int64_t n, void *to);

#endif
