/*
 * What the library calls: submitted predictions, events, the log. With a third argument `fork`
 * forked children alone: what the parent's threads own is lost in them, no leaks can be told.
 */
#include "waiting.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static void released(void *count)
{
    add(count);
}

static int answered, cancelled;
static pthread_t submitter;

struct ask {
    int row;
    int calls;
    int own_thread;
    modelserve_status status;
};

static void on_answer(void *data, modelserve_status status, const modelserve_prediction *p,
                      const modelserve_receipt *r, const char *error)
{
    struct ask *ask = data;
    ask->calls++;
    ask->own_thread = pthread_equal(pthread_self(), submitter);
    ask->status = status;
    if (status == MODELSERVE_STATUS_OK) {
        CHECK(p->label == one[ask->row] && r->version == 1 && error == NULL);
        CHECK(r->batch_rows >= 1 && r->batch_rows <= 32 && strcmp(r->model, "iris") == 0);
    } else {
        CHECK(p == NULL && r == NULL && error[0] != '\0');
    }
    if (status == MODELSERVE_STATUS_CANCELLED) {
        add(&cancelled);
    }
    add(&answered);
}

static void count_answer(void *count, modelserve_status status, const modelserve_prediction *p,
                         const modelserve_receipt *r, const char *error)
{
    CHECK(status == MODELSERVE_STATUS_OK && p->label == one[0]);
    CHECK(r->version == 1 && error == NULL);
    add(count);
}

static void submitting(void)
{
    enum { REQUESTS = 1000, BURST = 64 };
    static struct ask asks[REQUESTS];
    struct ask single = {0};
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request request[BURST], none = {0};
    modelserve_request_options with;
    float row[4];
    int alone = 0, i, round, told;

    submitter = pthread_self();
    OK(modelserve_manager_configure(manager, "iris",
                                    "[batching]\nmax_batch_size = 32\nmax_queue_delay = \"2ms\""));
    for (i = 0; i < REQUESTS; i++) {
        asks[i].row = i % 3;
        /* The row is copied. */
        memcpy(row, rows[i % 3], sizeof row);
        OK(modelserve_predict_submit(iris, row, 4, NULL, on_answer, &asks[i], NULL));
        memset(row, 0, sizeof row);
    }
    wait_for(&answered, REQUESTS);
    for (i = 0; i < REQUESTS; i++) {
        CHECK(asks[i].calls == 1 && asks[i].status == MODELSERVE_STATUS_OK);
        CHECK(!asks[i].own_thread);
    }
    CHECK(cancelled == 0);

    /* Each is answered or cancelled; sooner or later one is cancelled while it waits. */
    OK(modelserve_request_options_init(&with, sizeof with));
    with.priority = -1;
    for (round = 0; round < 1000 && cancelled == 0; round++) {
        told = answered;
        memset(asks, 0, sizeof asks);
        for (i = 0; i < BURST; i++) {
            OK(modelserve_predict_submit(iris, rows[0], 4, &with, on_answer, &asks[i],
                                         &request[i]));
        }
        for (i = BURST - 1; i >= 0; i--) {
            OK(modelserve_request_cancel(request[i]));
        }
        wait_for(&answered, told + BURST);
        for (i = 0; i < BURST; i++) {
            CHECK(asks[i].calls == 1);
            CHECK(asks[i].status == 0 || asks[i].status == MODELSERVE_STATUS_CANCELLED);
            /* After the answer it means nothing. */
            OK(modelserve_request_cancel(request[i]));
            OK(modelserve_request_free(request[i]));
            IS_INVALID(modelserve_request_free(request[i]));
            IS_INVALID(modelserve_request_cancel(request[i]));
        }
    }
    CHECK(cancelled > 0);
    OK(modelserve_request_free(none));

    /* What is refused comes to the callback, too. */
    told = answered;
    OK(modelserve_predict_submit(iris, rows[0], 3, NULL, on_answer, &single, NULL));
    wait_for(&answered, told + 1);
    CHECK(single.status == MODELSERVE_STATUS_INVALID_INPUT && single.calls == 1);
    with.version = 9;
    OK(modelserve_predict_submit(iris, rows[0], 4, &with, on_answer, &single, NULL));
    wait_for(&answered, told + 2);
    CHECK(single.status == MODELSERVE_STATUS_NOT_FOUND && single.calls == 2);

    /* A request under way outlives its handles. */
    single.row = 1;
    OK(modelserve_predict_submit(iris, rows[1], 4, NULL, on_answer, &single, &request[0]));
    OK(modelserve_request_free(request[0]));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    wait_for(&answered, told + 3);
    CHECK(single.calls == 3);
    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_predict_submit(iris, rows[0], 4, NULL, count_answer, &alone, NULL));
    OK(modelserve_model_free(iris));
    wait_for(&alone, 1);
}

static int events_released, n_words;
static char words[16][80];

static void on_event(void *data, const modelserve_event *event)
{
    CHECK(data == (void *)&events_released);
    CHECK(strcmp(event->model, "iris") == 0 && event->version == 1 && event->at_unix_ns > 0);
    CHECK(event->sequence == 0);
    CHECK(pthread_mutex_lock(&mutex) == 0);
    CHECK(n_words < 16);
    snprintf(words[n_words], sizeof words[0], "%d %.60s", (int)event->kind, event->word);
    n_words++;
    CHECK(pthread_cond_broadcast(&changed) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static int log_released, log_records;

static void on_record(void *data, const modelserve_log_record *record)
{
    CHECK(data == (void *)&log_released && record->message[0] != '\0' && record->target[0] != '\0');
    CHECK(record->level <= MODELSERVE_LOG_INFO && record->at_unix_ns > 0);
    if (strcmp(record->model, "logged") == 0) {
        add(&log_records);
    }
}

static void telling(void)
{
    static const char *const want[] = {"1 START", "1 LOADING", "1 AVAILABLE", "2 ",
                                       "3 stable", "1 UNLOADING", "1 END"};
    modelserve_manager manager;
    modelserve_model iris;
    int gone = 0, i;

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_on_event(manager, on_event, &events_released, released));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_set_label(manager, "iris", "stable", 1));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_unload(manager, "iris"));
    wait_for(&n_words, 7);
    for (i = 0; i < 7; i++) {
        CHECK(strcmp(words[i], want[i]) == 0);
    }
    CHECK(events_released == 0);
    OK(modelserve_manager_free(manager));
    wait_for(&events_released, 1);
    CHECK(events_released == 1);
    IS_INVALID(modelserve_manager_on_event(manager, on_event, &gone, released));
    CHECK(gone == 1);

    OK(modelserve_log_set(on_record, &log_released, released, MODELSERVE_LOG_INFO));
    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "logged", v1, NULL, &iris));
    OK(modelserve_log_flush((uint64_t)HANG_SECONDS * 1000000000));
    CHECK(log_records > 0);
    OK(modelserve_log_set(NULL, NULL, NULL, MODELSERVE_LOG_ERROR));
    wait_for(&log_released, 1);
    STATUS(INVALID_ARGUMENT, modelserve_log_set(on_record, &gone, released, 0));
    CHECK(gone == 2);
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static void child_of_fork(void)
{
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris);
    pid_t child;
    int answers = 0, status;

    OK(modelserve_manager_configure(manager, "iris", "[batching]\nmax_batch_size = 8\n[cache]"));
    /* The threads that answered the parent do not exist in the child. */
    OK(modelserve_predict_submit(iris, rows[0], 4, NULL, count_answer, &answers, NULL));
    wait_for(&answers, 1);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        modelserve_prediction p;
        alarm(HANG_SECONDS);
        OK(modelserve_predict(iris, rows[0], 4, &p));
        OK(modelserve_predict_submit(iris, rows[0], 4, NULL, count_answer, &answers, NULL));
        OK(modelserve_predict_submit(iris, rows[0], 4, NULL, count_answer, &answers, NULL));
        wait_for(&answers, 3);
        OK(modelserve_model_free(iris));
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(modelserve_predict_submit(iris, rows[0], 4, NULL, count_answer, &answers, NULL));
    wait_for(&answers, 2);
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

int main(int argc, char **argv)
{
    if (argc != 3 && !(argc == 4 && strcmp(argv[3], "fork") == 0)) {
        return 2;
    }
    learn_answers(argv);
    if (argc == 4) {
        child_of_fork();
    } else {
        submitting();
        telling();
    }
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
