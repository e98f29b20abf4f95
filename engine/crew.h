/* Work shared between a caller and the helpers of its crew (crew.c). They take pieces of it by turns, so that a helper
   without a core takes none; the caller waits for those only that a helper has begun. */

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* Does things first ... end - 1 of those that are given. `member`: 0 is the caller, each helper has a number of its own. */
typedef void Work(const void *given, long first, long end, int member);

typedef struct Crew {
    _Alignas(64) _Atomic uint64_t left; /* pieces that nobody has begun; in the upper half the number of the work */
    _Alignas(64) atomic_long done;      /* pieces that helpers have done */
    _Alignas(64) atomic_long asleep;    /* helpers that look for nothing */
    atomic_flag busy;                   /* somebody calls */
    atomic_long alone_until;            /* nanoseconds; 0: helpers are asked */
    Work *work;                         /* what follows changes while no piece of it is left or under way */
    const void *given;
    long count, each, pieces;
    void (*wake)(struct Crew *, long most);
    int members;
} Crew;

/* A caller that waits spins for about 60 us. A helper that keeps it waiting for longer than HELD_UP lost its core to
   somebody, who is likely to want it again: the caller then works alone for ALONE times as long. So a busy core costs a
   tenth of the time at most, where a step took half as long again without this. */
enum { SPINS = 3000, HELD_UP = 1000000, ALONE = 10 };

static inline void spin(void) { __builtin_ia32_pause(); }

/* Takes pieces until none is left; returns how many. */
static inline long take_pieces(Crew *crew, int member) {
    long taken = 0;
    uint64_t left = atomic_load_explicit(&crew->left, memory_order_acquire);
    while ((uint32_t)left) {
        if (!atomic_compare_exchange_weak_explicit(&crew->left, &left, left - 1, memory_order_acquire, memory_order_acquire))
            continue;
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

/* Until helpers have done all pieces but the caller's own. */
static inline void await_helpers(Crew *crew, long own) {
    long spins = 0, began = 0;
    while (own + atomic_load_explicit(&crew->done, memory_order_acquire) < crew->pieces) {
        if (spins++ < SPINS) {
            spin();
        } else {
            if (!began) began = nanoseconds();
            sched_yield(); /* the helper may want this core */
        }
    }
    if (!began) return;
    const long now = nanoseconds();
    if (now - began > HELD_UP) atomic_store_explicit(&crew->alone_until, now + ALONE * (now - began), memory_order_relaxed);
}

static inline int works_alone(Crew *crew) {
    const long until = atomic_load_explicit(&crew->alone_until, memory_order_relaxed);
    if (!until) return 0;
    if (nanoseconds() < until) return 1;
    atomic_store_explicit(&crew->alone_until, 0, memory_order_relaxed);
    return 0;
}

/* Does `count` things, in pieces of `each`; alone where there is one piece only or the crew has another caller. */
static inline void share_out(Crew *crew, Work *work, const void *given, long count, long each) {
    const long pieces = (count + each - 1) / each;
    if (!crew || pieces < 2 || works_alone(crew) || atomic_flag_test_and_set_explicit(&crew->busy, memory_order_acquire)) {
        work(given, 0, count, 0);
        return;
    }
    crew->work = work, crew->given = given, crew->count = count, crew->each = each, crew->pieces = pieces;
    atomic_store_explicit(&crew->done, 0, memory_order_relaxed);
    const uint64_t number = (atomic_load_explicit(&crew->left, memory_order_relaxed) >> 32) + 1;
    atomic_store(&crew->left, number << 32 | (uint64_t)pieces);
    if (atomic_load(&crew->asleep) > 0) crew->wake(crew, pieces - 1);
    await_helpers(crew, take_pieces(crew, 0));
    atomic_flag_clear_explicit(&crew->busy, memory_order_release);
}

/* How many things make a piece, where one is of `size` and a piece shall have `least` at least. */
static inline long piece_of(long size, long least) { return size < least ? least / size : 1; }
