// Everything that is compiled once per instruction set. Each isa_*.c sets the target, then
//   ISA    the name of its table       VL    floats in a vector
//   NAME   what people call it         MR    most rows of a tile: (MR + 1) · 2 vectors must fit the registers
#include "cpu.h"

#include <math.h>

#include "vector.h"

#include "widen.h"

#include "matmul.h"

#include "dots.h"

#include "linear.h"

#include "compose.h"

#include "attend.h"

#include "pointwise.h"

const medley_isa ISA = {NAME, compose_task, linear_task, attend_task, norm_task, rotate_task, gate_task, logits_task, attend_scratch};
