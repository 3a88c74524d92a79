//go:build cgo && arm64

#define ISA medley_neon
#define NAME "NEON"
#define VL 4
#define MR 14 // 32 registers, where the generic set counts on 16
#include "template.h"
