/*
 * Counts that threads of the library raise and a test waits for.
 */
#ifndef WAITING_H
#define WAITING_H

#include "serving.h"

#include <pthread.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Waits until *count is at least `least`. */
static inline void wait_for(const int *count, int least)
{
    struct timespec until;
    int code = 0;
    CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
    until.tv_sec += HANG_SECONDS;
    CHECK(pthread_mutex_lock(&mutex) == 0);
    while (*count < least && code == 0) {
        code = pthread_cond_timedwait(&changed, &mutex, &until);
    }
    CHECK(*count >= least);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static inline void add(int *count)
{
    CHECK(pthread_mutex_lock(&mutex) == 0);
    ++*count;
    CHECK(pthread_cond_broadcast(&changed) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

#endif
