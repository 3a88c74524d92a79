//go:build cgo && amd64

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define ISA medley_avx2
#define NAME "AVX2"
#define VL 8
#define MR 6
#include "template.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
