/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The barriers as C11 has them, which ThreadSanitizer understands, except for fences:
 * there an exchange of a word that nobody else touches stands for one. It orders the
 * machine alike, and is not taken for a meeting of two threads, which would hide races.
 */
#ifndef SHIM_ASM_BARRIER_H
#define SHIM_ASM_BARRIER_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHIM_TSAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define SHIM_TSAN
#endif

#ifdef SHIM_TSAN
static inline void shim_fence(void)
{
	static __thread int word;

	__atomic_exchange_n(&word, 1, __ATOMIC_SEQ_CST);
}

#define virt_mb()	shim_fence()	/* as */
#define virt_rmb()	shim_fence()	/* said */
#define virt_wmb()	shim_fence()	/* above */
#else
#define virt_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)	/* C11 */
#define virt_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)	/* C11 */
#define virt_wmb()	__atomic_thread_fence(__ATOMIC_RELEASE)	/* C11 */
#endif

/* One half of each pair that ring.c names. */
#define virt_load_acquire(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
/* The other half. */
#define virt_store_release(p, value) \
	__atomic_store_n(p, value, __ATOMIC_RELEASE)

#endif /* SHIM_ASM_BARRIER_H */
