/* Work shared between a caller and the helpers of its crew (crew.c). They take pieces of it by turns, so that a helper
   without a core takes none; the caller waits for those only that a helper has begun. */

#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* Does things first ... end - 1 of those that are given. `member`: 0 is the caller; each helper has its own number. */
typedef void Work(const void *given, long first, long end, int member);

typedef struct Crew {
    _Alignas(64) _Atomic uint64_t left; /* pieces that nobody has begun; in the upper half the number of the work */
    _Alignas(64) atomic_long done;      /* pieces that helpers have done */
    _Alignas(64) atomic_long asleep;    /* helpers that look for nothing */
    atomic_flag busy;                   /* somebody calls */
    Work *work;                         /* what follows changes while no piece of it is left or under way */
    const void *given;
    long count, each, pieces;
    long saved;              /* see COST */
    atomic_long alone_until; /* nanoseconds */
    atomic_int core;         /* the caller's */
    void (*wake)(struct Crew *, long most);
    int members;
} Crew;

/* What helpers saved, less what they were waited for, in nanoseconds. A caller whose helpers have cost more than COST
   works alone for ALONE times as long, for LONGEST at most: they lost their core to somebody who will want it again. No
   more than REMEMBERED is kept of what they saved. A helper that finds itself on the caller's core leaves it alone for
   a REST. Beside a process that computes all the time a step of 8 replies takes 12 ms with one thread and with two;
   without all this 17. */
enum { COST = 200000, REMEMBERED = 1000000, ALONE = 10, LONGEST = 500000000, REST = 3000000 };

enum { SPINS = 3000 }; /* of a caller that waits, about 60 us; then it offers its core */

static inline void spin(void) { __builtin_ia32_pause(); }

/* Takes pieces until none is left; returns how many. */
static inline long take_pieces(Crew *crew, int member) {
    long taken = 0;
    uint64_t left = atomic_load_explicit(&crew->left, memory_order_acquire);
    while ((uint32_t)left) {
        if (!atomic_compare_exchange_weak(&crew->left, &left, left - 1)) continue;
        const long first = (crew->pieces - (long)(uint32_t)left) * crew->each, end = first + crew->each;
        crew->work(crew->given, first, end < crew->count ? end : crew->count, member);
        taken++;
        left = atomic_load_explicit(&crew->left, memory_order_acquire);
    }
    return taken;
}

static inline long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static inline void leave_alone_until(Crew *crew, long moment) {
    atomic_store_explicit(&crew->alone_until, moment, memory_order_relaxed);
}

/* Until helpers have done all pieces but the caller's own. */
static inline void await_helpers(Crew *crew, long own) {
    for (long spins = 0; own + atomic_load_explicit(&crew->done, memory_order_acquire) < crew->pieces; spins++)
        if (spins < SPINS)
            spin();
        else
            sched_yield(); /* a helper may want this core */
}

/* What the crew's work has taken: the caller began, had no piece left to take, had all of them done. */
static inline void account(Crew *crew, long own, long began, long worked, long ended) {
    if (own) crew->saved += (crew->pieces - own) * ((worked - began) / own) - (ended - worked);
    if (crew->saved > REMEMBERED) crew->saved = REMEMBERED;
    if (crew->saved > -COST) return;
    const long alone = -crew->saved * ALONE;
    leave_alone_until(crew, ended + (alone < LONGEST ? alone : LONGEST));
    crew->saved = 0;
}

/* Does `count` things, in pieces of `each`; alone where there is one piece only or the crew has another caller. */
static inline void share_out(Crew *crew, Work *work, const void *given, long count, long each) {
    const long pieces = (count + each - 1) / each;
    if (!crew || pieces < 2 || atomic_flag_test_and_set_explicit(&crew->busy, memory_order_acquire)) {
        work(given, 0, count, 0);
        return;
    }
    const long began = nanoseconds();
    if (began < atomic_load_explicit(&crew->alone_until, memory_order_relaxed)) {
        work(given, 0, count, 0);
    } else {
        crew->work = work, crew->given = given, crew->count = count, crew->each = each, crew->pieces = pieces;
        atomic_store_explicit(&crew->done, 0, memory_order_relaxed);
        atomic_store_explicit(&crew->core, sched_getcpu(), memory_order_relaxed);
        const uint64_t number = (atomic_load_explicit(&crew->left, memory_order_relaxed) >> 32) + 1;
        atomic_store(&crew->left, number << 32 | (uint64_t)pieces);
        if (atomic_load(&crew->asleep) > 0) crew->wake(crew, pieces - 1);
        const long own = take_pieces(crew, 0), worked = nanoseconds();
        await_helpers(crew, own);
        account(crew, own, began, worked, nanoseconds());
    }
    atomic_flag_clear_explicit(&crew->busy, memory_order_release);
}

/* How many things make a piece, where one is of `size` and a piece shall have `least` at least. */
static inline long piece_of(long size, long least) { return size < least ? least / size : 1; }
