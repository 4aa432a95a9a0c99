/*
 * The serving layer through modelserve.h: versions, labels, the gate, policies by text, receipts,
 * submitted requests, events, the log, a folder of models, forked children.
 * Arguments: two versions of the iris model that disagree on the first row; and `fork` for the
 * forked children alone (what the parent's threads own is lost in them: no leaks can be told).
 */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long to wait for what has to come: far beyond what it takes. */
#define HANG_SECONDS 300

static const char *v1;
static const char *v2;
/* The answers of the two versions for the three rows. */
static int64_t one[3], two[3];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Waits until *count is at least `least`. */
static void wait_for(const int *count, int least)
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

static void add(int *count)
{
    CHECK(pthread_mutex_lock(&mutex) == 0);
    ++*count;
    CHECK(pthread_cond_broadcast(&changed) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static void released(void *count)
{
    add(count);
}

static int has(const char *part)
{
    return strstr(buf, part) != NULL;
}

/* A manager that serves "iris" with version 1 and has version 2 beside it. */
static modelserve_manager two_versions(modelserve_model *iris)
{
    modelserve_manager manager;
    uint64_t version;
    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, iris));
    OK(modelserve_manager_load_version(manager, "iris", v2, NULL, &version));
    CHECK(version == 2);
    return manager;
}

static void options(void)
{
    modelserve_manager_options with;
    modelserve_manager manager;
    modelserve_model iris;
    uint64_t version;

    OK(modelserve_manager_options_init(&with));
    CHECK(with.struct_size == sizeof with && with.threads == 0);
    with.memory_budget = 1;
    OK(modelserve_manager_new_with(&with, &manager));
    STATUS(LIMIT_EXCEEDED, modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_free(manager));
    with.memory_budget = 0;
    with.memory_policy = 2;
    STATUS(INVALID_ARGUMENT, modelserve_manager_new_with(&with, &manager));
    with.memory_policy = MODELSERVE_MEMORY_EVICT;
    with.struct_size = 8;
    STATUS(INVALID_ARGUMENT, modelserve_manager_new_with(&with, &manager));

    /* Kept versions come back at once. */
    OK(modelserve_manager_options_init(&with));
    with.keep_versions = 2;
    OK(modelserve_manager_new_with(&with, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    STATUS(NOT_READY, modelserve_manager_rollback(manager, "iris", &version));
    OK(modelserve_manager_reload(manager, "iris", v2, NULL, &version));
    CHECK(version == 2);
    OK(modelserve_manager_rollback(manager, "iris", &version));
    CHECK(version == 1);
    OK(modelserve_model_version(iris, &version));
    CHECK(version == 1);
    OK(modelserve_manager_memory(manager, buf, sizeof buf, &needed));
    CHECK(has("\"weights\"") && has("\"version\":1") && has("\"version\":2"));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    OK(modelserve_manager_new_with(NULL, &manager));
    OK(modelserve_manager_free(manager));
}

static void versions(void)
{
    modelserve_model iris, pinned;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request_options with;
    modelserve_prediction p;
    modelserve_receipt r;
    modelserve_batch batch;
    int64_t labels[3];
    uint64_t version;

    OK(modelserve_request_options_init(&with));
    CHECK(with.struct_size == sizeof with);
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(p.label == one[0] && r.version == 1 && r.batch_rows <= 1);
    CHECK(strcmp(r.model, "iris") == 0 && strlen(r.digest) == 64);
    CHECK(r.route == MODELSERVE_ROUTE_STABLE && r.cache == MODELSERVE_CACHE_OFF);
    CHECK(r.fallback == 0 && r.fallback_by[0] == '\0');
    with.version = 2;
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    CHECK(p.label == two[0] && p.model_version == 2);
    OK(modelserve_predict_batch_with(iris, rows[0], 3, 4, 0, &with, labels, 3, NULL, 0, &batch,
                                     &r));
    CHECK(memcmp(labels, two, sizeof two) == 0 && batch.model_version == 2 && r.version == 2);
    with.version = 9;
    STATUS(NOT_FOUND, modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    CHECK(r.version == 2);
    with.version = 0;
    with.label = "canary";
    STATUS(NOT_FOUND, modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    OK(modelserve_manager_set_label(manager, "iris", "canary", 2));
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    CHECK(p.label == two[0] && r.version == 2);
    OK(modelserve_manager_labels(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "{\"canary\":2}") == 0);
    OK(modelserve_manager_versions(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"AVAILABLE\"") && has("[\"canary\"]") && has("\"serving\":true"));
    with.version = 1;
    STATUS(INVALID_ARGUMENT, modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    with.version = 0;
    with.label = NULL;

    /* A pinned handle knows its own version only. */
    OK(modelserve_model_pin(iris, &pinned));
    with.version = 1;
    OK(modelserve_predict_with(pinned, rows[0], 4, &with, &p, &r));
    with.version = 2;
    STATUS(NOT_FOUND, modelserve_predict_with(pinned, rows[0], 4, &with, &p, &r));
    OK(modelserve_model_free(pinned));

    STATUS(INVALID_ARGUMENT, modelserve_manager_unload_version(manager, "iris", 1));
    OK(modelserve_manager_serve(manager, "iris", 2));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == two[0]);
    OK(modelserve_manager_rollback(manager, "iris", &version));
    CHECK(version == 1);
    STATUS(NOT_FOUND, modelserve_manager_serve(manager, "iris", 9));
    OK(modelserve_manager_remove_label(manager, "iris", "canary"));
    STATUS(NOT_FOUND, modelserve_manager_remove_label(manager, "iris", "canary"));
    STATUS(INVALID_ARGUMENT, modelserve_manager_set_label(manager, "iris", "no label", 1));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));

    /* A model without a manager has receipts, too. */
    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(r.version == 1 && r.model[0] == '\0' && strlen(r.digest) == 64);
    OK(modelserve_model_free(iris));
}

static void request_options(void)
{
    static const int64_t dims[2] = {3, 4};
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request_options with, *newer;
    modelserve_prediction p;
    modelserve_tensor input = {0};
    modelserve_outputs outputs;
    modelserve_receipt r;

    OK(modelserve_request_options_init(&with));
    with.timeout_ns = 1;
    STATUS(DEADLINE_EXCEEDED, modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    with.timeout_ns = UINT64_MAX;
    with.priority = 7;
    with.key = "ann";
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    with.priority = 128;
    STATUS(INVALID_ARGUMENT, modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    with.priority = 0;
    with.no_cache = 2;
    STATUS(INVALID_ARGUMENT, modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    with.no_cache = 0;
    /* What lies behind the struct is not 0: an option that is newer than the library. */
    newer = calloc(2, sizeof *newer);
    CHECK(newer != NULL);
    newer[0] = with;
    newer[0].struct_size = 2 * sizeof *newer;
    OK(modelserve_predict_with(iris, rows[0], 4, newer, &p, NULL));
    newer[1].priority = 1;
    STATUS(INVALID_ARGUMENT, modelserve_predict_with(iris, rows[0], 4, newer, &p, NULL));
    free(newer);
    OK(modelserve_request_options_init(&with));

    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    with.version = 2;
    OK(modelserve_run_with(iris, &input, 1, NULL, 0, &with, &outputs, &r));
    CHECK(r.version == 2 && strcmp(r.model, "iris") == 0);
    OK(modelserve_outputs_free(outputs));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static void gate(void)
{
    modelserve_manager manager;
    modelserve_model iris;
    modelserve_prediction p;
    modelserve_reload_options reload;
    modelserve_gate_options strict;
    uint64_t version = 0;
    int i;

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_gate_report(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    for (i = 0; i < 20; i++) {
        OK(modelserve_predict(iris, rows[0], 4, &p));
    }
    OK(modelserve_reload_options_init(&reload));
    OK(modelserve_gate_options_init(&strict));
    CHECK(isnan(strict.max_drift) && isnan(strict.max_latency_ratio) && strict.replay_last == 256);
    CHECK(reload.gate == NULL);
    strict.max_disagreement = 0.0;
    reload.gate = &strict;
    STATUS(INVALID_MODEL, modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    OK(modelserve_manager_gate_report(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"accepted\":false") && has("answered differently") && has("\"text\""));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == one[0] && version == 0);
    strict.max_drift = -1.0;
    STATUS(INVALID_ARGUMENT, modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    OK(modelserve_gate_options_init(&strict));
    OK(modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    OK(modelserve_manager_gate_report(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"accepted\":true") && !has("\"replayed\":0"));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == two[0]);
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static void policies(void)
{
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request_options with;
    modelserve_prediction p;
    modelserve_receipt r;
    int canaries = 0, i;

    STATUS(INVALID_ARGUMENT,
           modelserve_manager_configure(manager, "iris", "[batching]\nmax_batchsize = 32"));
    modelserve_last_error(buf, sizeof buf);
    CHECK(has("line 2") && has("max_batch_size") && has("iris"));
    STATUS(INVALID_ARGUMENT, modelserve_manager_configure(manager, "iris", "path = \"x.onnx\""));
    STATUS(INVALID_ARGUMENT, modelserve_manager_configure(manager, "iris", "[cache"));
    STATUS(NOT_FOUND, modelserve_manager_configure(manager, "none", "[cache]"));
    STATUS(NOT_FOUND, modelserve_manager_configure(manager, "iris",
                                                   "[canary]\nversion = 9\npercent = 5"));

    /* Cache. */
    OK(modelserve_manager_cache(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    OK(modelserve_manager_configure(manager, "iris", "[cache]\ncapacity = \"1MiB\""));
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(r.cache == MODELSERVE_CACHE_MISS && p.label == one[0]);
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(r.cache == MODELSERVE_CACHE_HIT && p.label == one[0] && r.batch_rows == 0);
    OK(modelserve_request_options_init(&with));
    with.no_cache = 1;
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    CHECK(r.cache == MODELSERVE_CACHE_OFF);
    OK(modelserve_manager_cache(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"hits\":1") && has("\"misses\":1"));

    /* A canary of a quarter. */
    OK(modelserve_manager_configure(manager, "iris", "[canary]\nversion = 2\npercent = 25"));
    for (i = 0; i < 400; i++) {
        OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
        CHECK((r.route == MODELSERVE_ROUTE_CANARY) == (r.version == 2));
        CHECK(p.label == (r.version == 2 ? two[0] : one[0]));
        canaries += r.route == MODELSERVE_ROUTE_CANARY;
    }
    CHECK(canaries == 100);
    OK(modelserve_manager_traffic(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"version 2\"") && has("300"));
    OK(modelserve_manager_promotion(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    OK(modelserve_manager_set_canary_percent(manager, "iris", 100.0));
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(r.route == MODELSERVE_ROUTE_CANARY);
    STATUS(INVALID_ARGUMENT, modelserve_manager_set_canary_percent(manager, "iris", 101.0));
    OK(modelserve_manager_configure(manager, "iris",
                                    "[canary]\nversion = 2\n[canary.promote]\nsteps = [5, 100]"));
    OK(modelserve_manager_promotion(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"decisions\""));

    /* A constant answers once the deadline has passed. */
    OK(modelserve_manager_configure(manager, "iris", "[[fallback]]\nconstant = { label = 1 }"));
    OK(modelserve_request_options_init(&with));
    with.timeout_ns = 1;
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, &r));
    CHECK(p.label == 1 && r.route == MODELSERVE_ROUTE_FALLBACK);
    CHECK(r.fallback == MODELSERVE_STATUS_DEADLINE_EXCEEDED);
    CHECK(strcmp(r.fallback_by, "constant") == 0);

    /* Breaker and shadow. */
    OK(modelserve_manager_circuit(manager, "iris", 0, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    OK(modelserve_manager_configure(manager, "iris",
                                    "[breaker]\n[shadow]\nversion = 2\npercent = 100"));
    OK(modelserve_manager_circuit(manager, "iris", 1, buf, sizeof buf, &needed));
    CHECK(has("\"state\":\"closed\""));
    STATUS(NOT_FOUND, modelserve_manager_circuit(manager, "iris", 9, buf, sizeof buf, &needed));
    OK(modelserve_predict_with(iris, rows[0], 4, NULL, &p, &r));
    CHECK(p.label == one[0]);
    OK(modelserve_manager_shadow(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"sampled\": 1"));

    OK(modelserve_manager_configure(manager, "iris", ""));
    OK(modelserve_manager_shadow(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    STATUS(NOT_FOUND, modelserve_manager_set_canary_percent(manager, "iris", 5.0));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
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
    OK(modelserve_request_options_init(&with));
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

static void pins(void)
{
    static const char *const names[2] = {"b", "a"};
    static const char *const missing[2] = {"a", "none"};
    modelserve_manager manager;
    modelserve_model a, b, set[2], untouched[2] = {{0}, {0}};
    modelserve_prediction p;
    uint64_t version;

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "a", v1, NULL, &a));
    OK(modelserve_manager_load(manager, "b", v2, NULL, &b));
    OK(modelserve_manager_pin(manager, names, 2, set));
    OK(modelserve_manager_reload(manager, "a", v2, NULL, &version));
    OK(modelserve_manager_unload(manager, "b"));
    OK(modelserve_predict(set[0], rows[0], 4, &p));
    CHECK(p.label == two[0]);
    OK(modelserve_predict(set[1], rows[0], 4, &p));
    CHECK(p.label == one[0]);
    STATUS(NOT_FOUND, modelserve_manager_pin(manager, missing, 2, untouched));
    CHECK(untouched[0].id == 0 && untouched[1].id == 0);
    OK(modelserve_manager_pin(manager, NULL, 0, NULL));
    OK(modelserve_model_free(set[0]));
    OK(modelserve_model_free(set[1]));
    OK(modelserve_model_free(a));
    OK(modelserve_model_free(b));
    OK(modelserve_manager_free(manager));
}

static void copy(const char *from, const char *to)
{
    size_t len;
    void *bytes = read_file(from, &len);
    FILE *file = fopen(to, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
    free(bytes);
}

static void folder(void)
{
    char root[] = "/tmp/modelserve-XXXXXX";
    char path[5][64];
    const struct timespec moment = {0, 5000000};
    modelserve_repository_options with;
    modelserve_manager manager;
    modelserve_model iris;
    modelserve_prediction p;
    FILE *file;
    int i, found;

    CHECK(mkdtemp(root) != NULL);
    snprintf(path[0], sizeof path[0], "%s/iris", root);
    snprintf(path[1], sizeof path[1], "%s/iris/1", root);
    snprintf(path[2], sizeof path[2], "%s/iris/2", root);
    CHECK(mkdir(path[0], 0700) == 0 && mkdir(path[1], 0700) == 0);
    snprintf(path[3], sizeof path[3], "%s/iris/1/model.onnx", root);
    snprintf(path[4], sizeof path[4], "%s/iris/2/model.onnx", root);
    copy(v1, path[3]);

    OK(modelserve_repository_options_init(&with));
    CHECK(with.struct_size == sizeof with);
    OK(modelserve_manager_new(1, &manager));
    STATUS(NOT_FOUND, modelserve_manager_refresh(manager));
    OK(modelserve_manager_repository_report(manager, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    with.version_policy = "newest";
    STATUS(INVALID_ARGUMENT, modelserve_manager_serve_repository(manager, root, &with));
    with.version_policy = "latest(1)";
    with.watch = 2;
    STATUS(INVALID_ARGUMENT, modelserve_manager_serve_repository(manager, root, &with));
    with.watch = 0;
    with.settle_ns = 20000000;
    STATUS(NOT_FOUND, modelserve_manager_serve_repository(manager, "/no/such/folder", &with));
    OK(modelserve_manager_serve_repository(manager, root, &with));
    OK(modelserve_manager_repository_report(manager, buf, sizeof buf, &needed));
    CHECK(has("\"loaded\":[{\"model\":\"iris\",\"version\":1}]"));
    STATUS(ALREADY_EXISTS, modelserve_manager_serve_repository(manager, root, &with));
    OK(modelserve_manager_model(manager, "iris", &iris));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == one[0] && p.model_version == 1);

    CHECK(mkdir(path[2], 0700) == 0);
    copy(v2, path[4]);
    /* The files have to rest before they are loaded. */
    for (i = 0, found = 0; i < HANG_SECONDS * 100 && !found; i++) {
        OK(modelserve_manager_refresh(manager));
        OK(modelserve_manager_repository_report(manager, buf, sizeof buf, &needed));
        found = has("\"loaded\":[{\"model\":\"iris\",\"version\":2}]");
        nanosleep(&moment, NULL);
    }
    CHECK(found);
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == two[0] && p.model_version == 2);
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));

    /* A manager as a file describes it. */
    CHECK(unlink(path[4]) == 0);
    file = fopen(path[4], "w");
    CHECK(file != NULL);
    fprintf(file, "[models.iris]\npath = \"%s\"\nlabels = { stable = 1 }\n[models.iris.cache]\n",
            path[3]);
    CHECK(fclose(file) == 0);
    OK(modelserve_manager_from_config(path[4], &manager));
    OK(modelserve_manager_labels(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "{\"stable\":1}") == 0);
    OK(modelserve_manager_cache(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"hits\":0"));
    OK(modelserve_manager_free(manager));
    STATUS(NOT_FOUND, modelserve_manager_from_config("/no/such/file.toml", &manager));
    STATUS(INVALID_ARGUMENT, modelserve_manager_from_config(path[3], &manager));

    CHECK(unlink(path[3]) == 0 && unlink(path[4]) == 0);
    CHECK(rmdir(path[1]) == 0 && rmdir(path[2]) == 0 && rmdir(path[0]) == 0 && rmdir(root) == 0);
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

/* Every pointer that must not be NULL, every handle that must be live. */
static void refusals(void)
{
    static const char *const names[1] = {"iris"};
    static const char *const null_name[1] = {NULL};
    static const int64_t dims[2] = {3, 4};
    modelserve_model iris, model;
    modelserve_manager manager = two_versions(&iris), gone = {12345}, other;
    modelserve_tensor input = {0};
    modelserve_outputs outputs;
    modelserve_prediction p;
    modelserve_batch batch;
    modelserve_model no_model = {54321};
    modelserve_request request, typed;
    uint64_t version;
    double scores[9];
    int64_t labels[3];

    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;

    IS_NULL(modelserve_manager_options_init(NULL));
    IS_NULL(modelserve_request_options_init(NULL));
    IS_NULL(modelserve_gate_options_init(NULL));
    IS_NULL(modelserve_repository_options_init(NULL));
    IS_NULL(modelserve_manager_new_with(NULL, NULL));
    IS_NULL(modelserve_manager_from_config(NULL, &other));
    IS_NULL(modelserve_manager_from_config("x", NULL));

    IS_NULL(modelserve_predict_with(iris, NULL, 4, NULL, &p, NULL));
    IS_NULL(modelserve_predict_with(iris, rows[0], 4, NULL, NULL, NULL));
    IS_INVALID(modelserve_predict_with(no_model, rows[0], 4, NULL, &p, NULL));
    IS_NULL(modelserve_predict_batch_with(iris, NULL, 3, 4, 0, NULL, labels, 3, scores, 9, &batch,
                                          NULL));
    IS_NULL(modelserve_predict_batch_with(iris, rows[0], 3, 4, 0, NULL, NULL, 3, scores, 9, &batch,
                                          NULL));
    IS_NULL(modelserve_predict_batch_with(iris, rows[0], 3, 4, 0, NULL, labels, 3, NULL, 9, &batch,
                                          NULL));
    IS_NULL(modelserve_predict_batch_with(iris, rows[0], 3, 4, 0, NULL, labels, 3, scores, 9, NULL,
                                          NULL));
    IS_INVALID(modelserve_predict_batch_with(no_model, rows[0], 3, 4, 0, NULL, labels, 3, scores,
                                             9, &batch, NULL));
    STATUS(BUFFER_TOO_SMALL, modelserve_predict_batch_with(iris, rows[0], 3, 4, 0, NULL, labels, 2,
                                                           scores, 9, &batch, NULL));
    IS_NULL(modelserve_run_with(iris, NULL, 1, NULL, 0, NULL, &outputs, NULL));
    IS_NULL(modelserve_run_with(iris, &input, 1, NULL, 1, NULL, &outputs, NULL));
    IS_NULL(modelserve_run_with(iris, &input, 1, NULL, 0, NULL, NULL, NULL));
    IS_INVALID(modelserve_run_with(no_model, &input, 1, NULL, 0, NULL, &outputs, NULL));

    IS_NULL(modelserve_predict_submit(iris, NULL, 4, NULL, count_answer, NULL, &request));
    IS_NULL(modelserve_predict_submit(iris, rows[0], 4, NULL, NULL, NULL, &request));
    IS_INVALID(modelserve_predict_submit(no_model, rows[0], 4, NULL, count_answer, NULL, &request));
    typed.id = iris.id;
    IS_INVALID(modelserve_request_cancel(typed));
    IS_INVALID(modelserve_request_free(typed));

    IS_NULL(modelserve_manager_load_version(manager, NULL, v1, NULL, &version));
    IS_NULL(modelserve_manager_load_version(manager, "iris", NULL, NULL, &version));
    IS_NULL(modelserve_manager_load_version(manager, "iris", v1, NULL, NULL));
    IS_INVALID(modelserve_manager_load_version(gone, "iris", v1, NULL, &version));
    IS_NULL(modelserve_manager_serve(manager, NULL, 1));
    IS_INVALID(modelserve_manager_serve(gone, "iris", 1));
    IS_NULL(modelserve_manager_rollback(manager, NULL, &version));
    IS_NULL(modelserve_manager_rollback(manager, "iris", NULL));
    IS_INVALID(modelserve_manager_rollback(gone, "iris", &version));
    IS_NULL(modelserve_manager_unload_version(manager, NULL, 1));
    IS_INVALID(modelserve_manager_unload_version(gone, "iris", 1));
    IS_NULL(modelserve_manager_set_label(manager, NULL, "x", 1));
    IS_NULL(modelserve_manager_set_label(manager, "iris", NULL, 1));
    IS_INVALID(modelserve_manager_set_label(gone, "iris", "x", 1));
    IS_NULL(modelserve_manager_remove_label(manager, NULL, "x"));
    IS_NULL(modelserve_manager_remove_label(manager, "iris", NULL));
    IS_INVALID(modelserve_manager_remove_label(gone, "iris", "x"));
    IS_NULL(modelserve_manager_pin(manager, NULL, 1, &model));
    IS_NULL(modelserve_manager_pin(manager, null_name, 1, &model));
    IS_NULL(modelserve_manager_pin(manager, names, 1, NULL));
    IS_INVALID(modelserve_manager_pin(gone, names, 1, &model));
    IS_NULL(modelserve_manager_configure(manager, NULL, ""));
    IS_NULL(modelserve_manager_configure(manager, "iris", NULL));
    IS_INVALID(modelserve_manager_configure(gone, "iris", ""));
    IS_NULL(modelserve_manager_set_canary_percent(manager, NULL, 1.0));
    IS_INVALID(modelserve_manager_set_canary_percent(gone, "iris", 1.0));
    IS_NULL(modelserve_manager_on_event(manager, NULL, NULL, NULL));
    IS_INVALID(modelserve_manager_on_event(gone, on_event, NULL, NULL));
    IS_NULL(modelserve_manager_serve_repository(manager, NULL, NULL));
    IS_INVALID(modelserve_manager_serve_repository(gone, "/tmp", NULL));
    IS_INVALID(modelserve_manager_refresh(gone));

    /* The text functions of a name, each alike. */
#define NAMED(function)                                                                            \
    do {                                                                                           \
        IS_NULL(function(manager, NULL, buf, sizeof buf, &needed));                                \
        IS_NULL(function(manager, "iris", NULL, 9, &needed));                                      \
        IS_NULL(function(manager, "iris", buf, sizeof buf, NULL));                                 \
        IS_INVALID(function(gone, "iris", buf, sizeof buf, &needed));                              \
        STATUS(NOT_FOUND, function(manager, "none", buf, sizeof buf, &needed));                    \
        OK(function(manager, "iris", NULL, 0, &needed));                                           \
        STATUS(BUFFER_TOO_SMALL, function(manager, "iris", buf, 1, &needed));                      \
    } while (0)
    NAMED(modelserve_manager_versions);
    NAMED(modelserve_manager_labels);
    NAMED(modelserve_manager_gate_report);
    NAMED(modelserve_manager_traffic);
    NAMED(modelserve_manager_promotion);
    NAMED(modelserve_manager_shadow);
    NAMED(modelserve_manager_cache);
    IS_NULL(modelserve_manager_circuit(manager, NULL, 0, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_circuit(manager, "iris", 0, NULL, 9, &needed));
    IS_NULL(modelserve_manager_circuit(manager, "iris", 0, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_manager_circuit(gone, "iris", 0, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_memory(manager, NULL, 9, &needed));
    IS_NULL(modelserve_manager_memory(manager, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_manager_memory(gone, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_repository_report(manager, NULL, 9, &needed));
    IS_NULL(modelserve_manager_repository_report(manager, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_manager_repository_report(gone, buf, sizeof buf, &needed));

    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

int main(int argc, char **argv)
{
    modelserve_model model;
    modelserve_batch batch;
    if (argc != 3 && !(argc == 4 && strcmp(argv[3], "fork") == 0)) {
        return 2;
    }
    v1 = argv[1];
    v2 = argv[2];
    OK(modelserve_model_load(v1, NULL, &model));
    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, one, 3, NULL, 0, &batch));
    OK(modelserve_model_free(model));
    OK(modelserve_model_load(v2, NULL, &model));
    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, two, 3, NULL, 0, &batch));
    OK(modelserve_model_free(model));
    CHECK(one[0] != two[0]);
    if (argc == 4) {
        child_of_fork();
        CHECK(modelserve_live_handles() == 0);
        return 0;
    }
    options();
    versions();
    request_options();
    gate();
    policies();
    submitting();
    telling();
    pins();
    folder();
    refusals();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
