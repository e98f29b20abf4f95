/* Work shared between the threads of the OpenMP library that torch has loaded. Its functions are called by name, so that
   any C compiler will do: the calls that compilers make of pragmas differ between their libraries. */

extern void GOMP_parallel(void (*work)(void *), void *given, unsigned threads, unsigned flags);
extern void GOMP_barrier(void);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);

typedef struct {
    long first, end;
} Share;

/* This thread's part of `count` things. */
static inline Share share_of(long count) {
    const long mine = omp_get_thread_num(), all = omp_get_num_threads();
    return (Share){count * mine / all, count * (mine + 1) / all};
}

static inline void run(void (*work)(void *), void *given, int threads) {
    if (threads > 1)
        GOMP_parallel(work, given, (unsigned)threads, 0);
    else
        work(given);
}
