//go:build cgo

#include "cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef _WIN32
#include <malloc.h>
#endif

#if defined(__x86_64__)
enum { AVX512 = 1, AVX2 = 2, VNNI = 4 };

// supported asks the processor itself, and the system whether it saves the wide registers: __builtin_cpu_supports answers no to
// everything under some compilers (zig 0.17's run-time library).
static int supported(void) {
	unsigned a, b, c, d, low, high;
	const unsigned FMA = 1u << 12, OSXSAVE = 1u << 27;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & FMA) || !(c & OSXSAVE)) return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	const unsigned YMM = 0x6, ZMM = 0xe6;
	const unsigned F = 1u << 16, DQ = 1u << 17, BW = 1u << 30, VL = 1u << 31, all = F | DQ | BW | VL;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
	int found = 0;
	if ((low & YMM) == YMM && (b & 1u << 5)) found |= AVX2;
	if (found && (low & ZMM) == ZMM && (b & all) == all) found |= AVX512;
	if ((found & AVX512) && (c & 1u << 11)) found |= VNNI;
	return found;
}

// amx_permitted says whether AMX is there and the system lets this process use it, which Linux wants to be asked for once. It
// refuses, for instance, when a thread's signal stack has no room for the tiles.
static int amx_permitted(void) {
#if defined(__linux__) && defined(__x86_64__)
	enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
	const unsigned BF16 = 1u << 22, TILE = 1u << 24, INT8_ = 1u << 25, all = BF16 | TILE | INT8_, AVX512_BF16 = 1u << 5;
	unsigned a, b, c, d;
	if (!(supported() & AVX512) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & all) != all) return 0;
	if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & AVX512_BF16)) return 0;
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
	return 0;
#endif
}
#endif

const medley_unit *medley_find_unit(const char *name, int64_t storage) {
#if defined(__linux__) && defined(__x86_64__)
	if ((storage == BFLOAT16 || storage == INT8) && (name[0] == 0 || !strcmp(name, "amx")) && amx_permitted()) {
		return storage == BFLOAT16 ? &medley_amx_bfloat16 : &medley_amx_int8;
	}
#endif
#if defined(__x86_64__)
	int any = name[0] == 0, wide = any || !strcmp(name, "avx512");
	if (storage == INT8 && wide && (supported() & VNNI)) return &medley_vnni;
	if (storage >= BLOCKS8 && (wide || !strcmp(name, "amx")) && (supported() & VNNI)) return &medley_blocks_vnni;
#else
	(void)name, (void)storage;
#endif
	return NULL;
}

const medley_isa *medley_find_isa(const char *name) {
	int any = name[0] == 0;
#if defined(__x86_64__)
	int found = supported();
	if (!strcmp(name, "amx")) return amx_permitted() ? &medley_avx512 : NULL;
	if ((any || !strcmp(name, "avx512")) && (found & AVX512)) return &medley_avx512;
	if ((any || !strcmp(name, "avx2")) && (found & AVX2)) return &medley_avx2;
#endif
#if defined(__aarch64__)
	if (any || !strcmp(name, "neon")) return &medley_neon; // every such processor has it
#endif
	if (any || !strcmp(name, "generic")) return &medley_generic;
	return NULL;
}

void medley_processor(char *name, int size) {
	name[0] = 0;
#if defined(__x86_64__)
	unsigned words[12];
	for (unsigned i = 0; i < 3; i++) {
		unsigned *w = words + 4 * i;
		if (!__get_cpuid(0x80000002 + i, w, w + 1, w + 2, w + 3)) return;
	}
	int n = (int)medley_min(size - 1, (int64_t)sizeof words);
	memcpy(name, words, (size_t)n);
	name[n] = 0;
#else
	(void)size;
#endif
}

void *medley_alloc(int64_t bytes) {
#ifdef _WIN32
	return _aligned_malloc((size_t)bytes, 64);
#else
	void *p = NULL;
	return posix_memalign(&p, 64, (size_t)bytes) == 0 ? p : NULL;
#endif
}

void medley_free(void *p) {
#ifdef _WIN32
	_aligned_free(p);
#else
	free(p);
#endif
}

unsigned long medley_flush_on(void) {
#if defined(__x86_64__)
	unsigned state = _mm_getcsr();
	_mm_setcsr(state | 0x8040); // flush to zero, denormals are zero
	return state;
#elif defined(__aarch64__)
	unsigned long state;
	__asm__ volatile("mrs %0, fpcr" : "=r"(state));
	__asm__ volatile("msr fpcr, %0" : : "r"(state | 1ul << 24));
	return state;
#else
	return 0;
#endif
}

void medley_flush_restore(unsigned long state) {
#if defined(__x86_64__)
	_mm_setcsr((unsigned)state);
#elif defined(__aarch64__)
	__asm__ volatile("msr fpcr, %0" : : "r"(state));
#else
	(void)state;
#endif
}
