//go:build cgo

#define ISA medley_generic
#define NAME "generic"
#define VL 4
#define MR 6
#include "template.h"
