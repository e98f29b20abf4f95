/* Threads that help whoever calls share_out (crew.h). They begin with the first work that there is for them, look for
   more for some microseconds after each, then sleep. */

#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE = 3000 }; /* spins until a helper sleeps, about 60 us: longer than what is between two products */

typedef struct {
    Crew *crew;
    int member;
    atomic_int asleep; /* whoever makes it 0 posts the bell */
    sem_t bell;
    pthread_t thread;
} Helper;

typedef struct {
    Crew crew; /* the first, so that one's address is the other's */
    atomic_int ending;
    int helpers; /* that have begun */
    pid_t process;
    Helper helper[];
} Team;

/* Whether the helper slept until now. */
static int woken(Helper *helper) {
    if (!atomic_exchange(&helper->asleep, 0)) return 0;
    atomic_fetch_sub(&helper->crew->asleep, 1);
    return 1;
}

/* Until somebody wakes it. Where it is in the way it sleeps though there may be work. */
static void rest(Team *team, Helper *own, int in_the_way) {
    atomic_fetch_add(&team->crew.asleep, 1);
    atomic_store(&own->asleep, 1);
    const int wanted = atomic_load(&team->ending) || (!in_the_way && (uint32_t)atomic_load(&team->crew.left));
    if (wanted && woken(own)) return; /* it came before anybody could know that there is a sleeper */
    while (sem_wait(&own->bell) && errno == EINTR) {
    }
}

/* Whether the helper has the caller's core; then the caller is left alone for a while. */
static int is_in_the_way(Crew *crew) {
    if (sched_getcpu() != atomic_load_explicit(&crew->core, memory_order_relaxed)) return 0;
    leave_alone_until(crew, nanoseconds() + REST);
    return 1;
}

static void *help(void *given) {
    Helper *own = given;
    Team *team = (Team *)own->crew;
    long idle = 0;
    while (!atomic_load_explicit(&team->ending, memory_order_relaxed)) {
        const int in_the_way = is_in_the_way(own->crew);
        const long taken = in_the_way ? 0 : take_pieces(own->crew, own->member);
        if (taken) atomic_fetch_add_explicit(&own->crew->done, taken, memory_order_release);
        idle = taken ? 0 : idle + 1;
        if (in_the_way || idle > PATIENCE)
            rest(team, own, in_the_way), idle = 0;
        else if (idle)
            spin();
    }
    return 0;
}

/* Signals are for the process's other threads. Where no thread can be had there are fewer helpers. */
static void begin(Team *team) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int member = 1; member < team->crew.members; member++) {
        Helper *helper = team->helper + team->helpers;
        helper->crew = &team->crew, helper->member = member;
        if (sem_init(&helper->bell, 0, 0)) break;
        if (pthread_create(&helper->thread, 0, help, helper)) break;
        team->helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    team->process = getpid();
}

static void wake(Crew *crew, long most) {
    Team *team = (Team *)crew;
    if (!team->process) {
        atomic_store(&crew->asleep, 0);
        begin(team);
        return;
    }
    for (int each = 0; each < team->helpers && most > 0; each++)
        if (woken(team->helper + each)) sem_post(&team->helper[each].bell), most--;
}

/* A crew of so many members, the caller included; null if there is no memory. */
Crew *sluice_crew(int members) {
    const size_t size = sizeof(Team) + (size_t)members * sizeof(Helper);
    Team *team = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!team) return 0;
    __builtin_memset(team, 0, size);
    team->crew.members = members;
    team->crew.wake = wake;
    atomic_store(&team->crew.asleep, members - 1); /* they begin when they are woken */
    return &team->crew;
}

/* Ends the helpers; nobody may call any more. In a process that was forked there are none. */
void sluice_crew_end(Crew *crew) {
    Team *team = (Team *)crew;
    atomic_store(&team->ending, 1);
    const int ours = team->process == getpid();
    for (int each = 0; ours && each < team->helpers; each++) {
        if (woken(team->helper + each)) sem_post(&team->helper[each].bell);
        pthread_join(team->helper[each].thread, 0);
        sem_destroy(&team->helper[each].bell);
    }
    free(team);
}
