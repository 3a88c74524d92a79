//go:build cgo && amd64

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define ISA medley_avx512
#define NAME "AVX-512"
#define VL 16
#define MR 14
#include "template.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
