//go:build cgo

#include "cpu.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

// A product of a small model takes some tens of microseconds and the next one follows at once, while waking a sleeping thread
// takes about as long as the product: so a worker that runs out of work looks out for more this long before it sleeps.
enum { SPIN_NANOSECONDS = 100 * 1000 };

// Below this many multiply-adds an operation is done before a second thread could take its share.
static const double SHARE_COST = 400e3;

typedef struct {
	medley_pool *pool;
	float *scratch;
	int64_t scratch_bytes;
	pthread_t thread;
} worker;

// One job runs at a time. The epoch is odd while it is open; a worker counts itself active, then looks at the epoch again:
// the caller closes the job, then waits until nobody is active. In that order no worker can touch a job that has been
// closed, and a worker that comes late, or is never scheduled, holds nobody up: the caller claims the remaining tasks itself.
struct medley_pool {
	pthread_mutex_t turn; // held by the caller whose job runs
	pthread_mutex_t sleep;
	pthread_cond_t wake;
	medley_task task;
	void *job;
	int64_t tasks;
	int workers;
	worker *worker;
	_Alignas(64) atomic_llong next; // on a line of its own: every task claims from it
	_Alignas(64) atomic_ullong epoch;
	atomic_int sleepers, stop;
	_Alignas(64) atomic_int active;
};

static void claim_tasks(medley_pool *p, float *scratch) {
	for (int64_t i; (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->tasks;) {
		p->task(p->job, i, scratch);
	}
}

static int64_t nanoseconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// await_epoch returns the epoch of a job that this worker has not seen, or an even number to stop.
static unsigned long long await_epoch(medley_pool *p, unsigned long long seen) {
	int64_t deadline = nanoseconds() + SPIN_NANOSECONDS;
	for (int i = 1;; i++) {
		unsigned long long e = atomic_load(&p->epoch);
		if (atomic_load(&p->stop)) return 0;
		if ((e & 1) && e != seen) return e;
		RELAX();
		if (i % 32 == 0 && nanoseconds() > deadline) break;
	}
	pthread_mutex_lock(&p->sleep);
	atomic_fetch_add(&p->sleepers, 1);
	unsigned long long e;
	for (;;) {
		e = atomic_load(&p->epoch);
		if (atomic_load(&p->stop) || ((e & 1) && e != seen)) break;
		pthread_cond_wait(&p->wake, &p->sleep);
	}
	atomic_fetch_sub(&p->sleepers, 1);
	pthread_mutex_unlock(&p->sleep);
	return atomic_load(&p->stop) ? 0 : e;
}

static void *work(void *arg) {
	worker *w = arg;
	medley_pool *p = w->pool;
	medley_flush_on();
	for (unsigned long long seen = 0; (seen = await_epoch(p, seen)) != 0;) {
		atomic_fetch_add(&p->active, 1);
		if (atomic_load(&p->epoch) == seen) claim_tasks(p, w->scratch);
		atomic_fetch_sub(&p->active, 1);
	}
	return NULL;
}

static void wake_all(medley_pool *p) {
	if (atomic_load(&p->sleepers) == 0) return;
	pthread_mutex_lock(&p->sleep);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->sleep);
}

medley_pool *medley_pool_new(int threads) {
	medley_pool *p = medley_alloc(sizeof *p);
	if (!p) return NULL;
	*p = (medley_pool){0};
	pthread_mutex_init(&p->turn, NULL);
	pthread_mutex_init(&p->sleep, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->worker = calloc((size_t)threads, sizeof *p->worker);
	if (!p->worker) {
		medley_pool_free(p);
		return NULL;
	}
#ifndef _WIN32
	// The Go runtime's signals are for its own threads.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
	for (; p->workers < threads - 1; p->workers++) {
		worker *w = &p->worker[p->workers];
		w->pool = p;
		if (pthread_create(&w->thread, NULL, work, w) != 0) break; // fewer threads compute the same
	}
#ifndef _WIN32
	pthread_sigmask(SIG_SETMASK, &before, NULL);
#endif
	return p;
}

void medley_pool_free(medley_pool *p) {
	atomic_store(&p->stop, 1);
	wake_all(p);
	for (int i = 0; i < p->workers; i++) {
		pthread_join(p->worker[i].thread, NULL);
		medley_free(p->worker[i].scratch);
	}
	pthread_mutex_destroy(&p->turn);
	pthread_mutex_destroy(&p->sleep);
	pthread_cond_destroy(&p->wake);
	free(p->worker);
	medley_free(p);
}

int medley_pool_threads(const medley_pool *p) { return p->workers + 1; }

int medley_worth_sharing(const medley_pool *p, double cost) { return p->workers > 0 && cost >= SHARE_COST; }

static int reserve_scratch(medley_pool *p, int64_t bytes) {
	for (int i = 0; i < p->workers; i++) {
		worker *w = &p->worker[i];
		if (w->scratch_bytes >= bytes) continue;
		medley_free(w->scratch);
		w->scratch = medley_alloc(bytes);
		w->scratch_bytes = w->scratch ? bytes : 0;
		if (!w->scratch) return -1;
	}
	return 0;
}

int medley_pool_run(medley_pool *p, medley_task task, void *job, int64_t tasks, double cost, float *scratch, int64_t scratch_bytes) {
	unsigned long flush = medley_flush_on();
	int failed = 0;
	if (tasks < 2 || !medley_worth_sharing(p, cost)) {
		for (int64_t i = 0; i < tasks; i++) task(job, i, scratch);
	} else {
		pthread_mutex_lock(&p->turn);
		failed = reserve_scratch(p, scratch_bytes);
		if (!failed) {
			p->task = task, p->job = job, p->tasks = tasks;
			atomic_store(&p->next, 0);
			atomic_fetch_add(&p->epoch, 1);
			wake_all(p);
			claim_tasks(p, scratch);
			atomic_fetch_add(&p->epoch, 1);
			for (int i = 0; atomic_load(&p->active) != 0; i++) {
				if (i < 10000) RELAX();
				else sched_yield();
			}
		}
		pthread_mutex_unlock(&p->turn);
	}
	medley_flush_restore(flush);
	return failed;
}
