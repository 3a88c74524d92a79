// A small allocator: free blocks in a list by address, the first that is large enough is taken, neighbours are joined again.
#include "plugin.h"

enum { PAGE = 1 << 16, UNIT = 16 }; // sizes are multiples of UNIT, which a free block's links fit in

// A block begins with its size, this included; what allocate returns is 8 bytes further, and 8-aligned.
struct block {
	size_t size;
	struct block *next; // while it is free
};

static struct block *available;
static size_t end; // of the memory that there is in blocks; 0 before the first

extern char __heap_base; // where the linker says that free memory begins

// grow adds a block of at least size bytes at the end of memory.
static bool grow(size_t size)
{
	size_t top = __builtin_wasm_memory_size(0) * PAGE;
	if (end == 0)
		end = ((size_t)&__heap_base + UNIT - 1) / UNIT * UNIT;
	if (top - end < size) {
		size_t pages = (size - (top - end) + PAGE - 1) / PAGE;
		if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1)
			return false;
		top += pages * PAGE;
	}
	struct block *b = (struct block *)end;
	b->size = top - end;
	end = top;
	release((char *)b + 8);
	return true;
}

void *allocate(size_t n)
{
	if (n > 1u << 30)
		return NULL;
	size_t size = (n + 8 + UNIT - 1) / UNIT * UNIT;
	do {
		for (struct block **at = &available; *at; at = &(*at)->next) {
			struct block *b = *at;
			if (b->size < size)
				continue;
			*at = b->next;
			if (b->size > size) { // the rest stays free
				struct block *rest = (struct block *)((char *)b + size);
				rest->size = b->size - size;
				rest->next = b->next;
				*at = rest;
				b->size = size;
			}
			return (char *)b + 8;
		}
	} while (grow(size));
	return NULL;
}

// join makes b and the free block after it one if they touch.
static void join(struct block *b)
{
	if (b->next && (char *)b + b->size == (char *)b->next) {
		b->size += b->next->size;
		b->next = b->next->next;
	}
}

void release(void *p)
{
	if (!p)
		return;
	struct block *b = (struct block *)((char *)p - 8), *before = NULL;
	struct block **at = &available;
	while (*at && *at < b) {
		before = *at;
		at = &before->next;
	}
	b->next = *at;
	*at = b;
	join(b);
	if (before)
		join(before);
}
