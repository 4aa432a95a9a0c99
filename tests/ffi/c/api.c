/*
 * Every function of modelserve.h: what it answers, what it refuses, and that nothing is left over.
 * Arguments: two versions of the iris model, one with text labels, one that answers maps.
 */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 16];
static size_t needed;

static void library(void)
{
    modelserve_manager none = {0};
    char two[2] = {'x', 'x'};
    CHECK(modelserve_abi_version() == MODELSERVE_ABI_VERSION);
    CHECK(strchr(modelserve_version(), '.') != NULL);
    OK(modelserve_manager_free(none));
    CHECK(modelserve_last_error(NULL, 0) == 0);
    IS_NULL(modelserve_manager_new(0, NULL));
    CHECK(modelserve_last_error(two, 2) > 2 && two[1] == '\0');
    CHECK(modelserve_last_error(buf, sizeof buf) == strlen(buf));
    OK(modelserve_manager_free(none));
    CHECK(modelserve_last_error(buf, sizeof buf) == 0 && buf[0] == '\0');
}

static void manager_calls(const char *v1, const char *v2)
{
    modelserve_manager manager;
    modelserve_model iris, other, pinned;
    modelserve_load_options load;
    modelserve_reload_options reload;
    modelserve_prediction before, after;
    static const float infinite[4] = {1, HUGE_VALF, 1, 1};
    modelserve_batch batch;
    int64_t labels[3];
    char text[256];
    uint64_t version;
    size_t len;
    void *bytes = read_file(v2, &len);

    OK(modelserve_load_options_init(&load, sizeof load));
    OK(modelserve_reload_options_init(&reload, sizeof reload));
    CHECK(load.struct_size == sizeof load && reload.struct_size == sizeof reload);
    load.version = 7;
    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, &load, &iris));
    STATUS(ALREADY_EXISTS, modelserve_manager_load(manager, "iris", v1, NULL, &other));
    STATUS(NOT_FOUND, modelserve_manager_load(manager, "x", "/no/such/file.onnx", NULL, &other));
    STATUS(INVALID_ARGUMENT, modelserve_manager_load(manager, "\xff", v1, NULL, &other));
    load.task = 99;
    STATUS(INVALID_ARGUMENT, modelserve_manager_load(manager, "x", v1, &load, &other));
    load.task = 0;
    load.finite_inputs = 2;
    STATUS(INVALID_ARGUMENT, modelserve_manager_load(manager, "x", v1, &load, &other));
    load.finite_inputs = 1;
    load.max_rows = 2;
    OK(modelserve_manager_load(manager, "x", v1, &load, &other));
    OK(modelserve_predict(other, rows[0], 4, &before));
    STATUS(INVALID_INPUT, modelserve_predict(other, infinite, 4, &before));
    CHECK(modelserve_last_error(text, sizeof text) != 0 && strstr(text, "feature 1 of row 0 is inf"));
    STATUS(LIMIT_EXCEEDED,
           modelserve_predict_batch(other, rows[0], 3, 4, 0, labels, 3, NULL, 0, &batch));
    OK(modelserve_model_free(other));
    OK(modelserve_manager_unload(manager, "x"));
    load.finite_inputs = 0;
    load.max_rows = 0;
    load.struct_size = 3;
    STATUS(INVALID_ARGUMENT, modelserve_manager_load(manager, "x", v1, &load, &other));
    OK(modelserve_model_version(iris, &version));
    CHECK(version == 7);

    OK(modelserve_predict(iris, rows[0], 4, &before));
    OK(modelserve_model_pin(iris, &pinned));
    OK(modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    CHECK(version == 8);
    OK(modelserve_predict(iris, rows[0], 4, &after));
    CHECK(after.label != before.label && after.model_version == 8);
    OK(modelserve_predict(pinned, rows[0], 4, &after));
    CHECK(after.label == before.label && after.model_version == 7);
    OK(modelserve_manager_reload_bytes(manager, "iris", bytes, len, NULL, &version));
    CHECK(version == 9);
    CHECK(modelserve_manager_reload_bytes(manager, "iris", bytes, 9, NULL, &version) != 0);
    STATUS(NOT_FOUND, modelserve_manager_reload(manager, "none", NULL, NULL, &version));
    CHECK(version == 9);

    OK(modelserve_manager_load_bytes(manager, "copy", bytes, len, NULL, &other));
    OK(modelserve_model_free(other));
    OK(modelserve_manager_model(manager, "copy", &other));
    OK(modelserve_manager_models(manager, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "[\"copy\",\"iris\"]") == 0 && needed == strlen(buf));
    OK(modelserve_manager_models(manager, NULL, 0, &needed));
    CHECK(needed == strlen(buf));
    STATUS(BUFFER_TOO_SMALL, modelserve_manager_models(manager, buf, needed, &needed));
    OK(modelserve_manager_stats(manager, "iris", buf, sizeof buf, &needed));
    CHECK(strstr(buf, "\"requests\"") != NULL);
    OK(modelserve_manager_metrics(manager, buf, sizeof buf, &needed));
    OK(modelserve_manager_unload(manager, "copy"));
    STATUS(NOT_FOUND, modelserve_model_version(other, &version));
    STATUS(NOT_FOUND, modelserve_manager_model(manager, "copy", &other));

    IS_NULL(modelserve_load_options_init(NULL, 0));
    IS_NULL(modelserve_reload_options_init(NULL, 0));
    IS_NULL(modelserve_manager_load(manager, NULL, v1, NULL, &other));
    IS_NULL(modelserve_manager_load(manager, "x", NULL, NULL, &other));
    IS_NULL(modelserve_manager_load(manager, "x", v1, NULL, NULL));
    IS_NULL(modelserve_manager_load_bytes(manager, NULL, bytes, len, NULL, &other));
    IS_NULL(modelserve_manager_load_bytes(manager, "x", NULL, len, NULL, &other));
    IS_NULL(modelserve_manager_load_bytes(manager, "x", bytes, len, NULL, NULL));
    IS_NULL(modelserve_manager_reload(manager, NULL, v1, NULL, &version));
    IS_NULL(modelserve_manager_reload(manager, "iris", v1, NULL, NULL));
    IS_NULL(modelserve_manager_reload_bytes(manager, NULL, bytes, len, NULL, &version));
    IS_NULL(modelserve_manager_reload_bytes(manager, "iris", NULL, len, NULL, &version));
    IS_NULL(modelserve_manager_reload_bytes(manager, "iris", bytes, len, NULL, NULL));
    IS_NULL(modelserve_manager_unload(manager, NULL));
    IS_NULL(modelserve_manager_model(manager, NULL, &other));
    IS_NULL(modelserve_manager_model(manager, "iris", NULL));
    IS_NULL(modelserve_manager_models(manager, NULL, 9, &needed));
    IS_NULL(modelserve_manager_models(manager, buf, sizeof buf, NULL));
    IS_NULL(modelserve_manager_stats(manager, NULL, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_stats(manager, "iris", NULL, 9, &needed));
    IS_NULL(modelserve_manager_stats(manager, "iris", buf, sizeof buf, NULL));
    IS_NULL(modelserve_manager_metrics(manager, NULL, 9, &needed));
    IS_NULL(modelserve_manager_metrics(manager, buf, sizeof buf, NULL));

    OK(modelserve_manager_free(manager));
    IS_INVALID(modelserve_manager_free(manager));
    IS_INVALID(modelserve_manager_models(manager, buf, sizeof buf, &needed));
    OK(modelserve_predict(iris, rows[0], 4, &after));
    OK(modelserve_model_free(other));
    OK(modelserve_model_free(pinned));
    OK(modelserve_model_free(iris));
    free(bytes);
    CHECK(modelserve_live_handles() == 0);
}

static void predictions(const char *v1, const char *strings)
{
    modelserve_model iris, text, wrong, out;
    modelserve_manager typed;
    modelserve_prediction one, same;
    modelserve_batch batch;
    int64_t labels[3];
    double scores[9], row[3];
    uint64_t nanoseconds, version;
    size_t count, len;
    int bit;
    void *bytes = read_file(v1, &len);

    OK(modelserve_model_load_bytes(bytes, len, NULL, &iris));
    OK(modelserve_model_load(strings, NULL, &text));
    OK(modelserve_predict(iris, rows[0], 4, &one));
    CHECK(one.answer == MODELSERVE_ANSWER_INT && one.n_scores == 3 && one.class_index >= 0);
    CHECK(one.scores_kind == MODELSERVE_SCORES_PROBABILITIES && one.label_text[0] == '\0');
    OK(modelserve_predict_scores(iris, rows[0], 4, row, 3, &same));
    CHECK(same.label == one.label && row[one.class_index] == one.probability);
    STATUS(BUFFER_TOO_SMALL, modelserve_predict_scores(iris, rows[0], 4, row, 2, &same));
    STATUS(INVALID_INPUT, modelserve_predict(iris, rows[0], 3, &one));

    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 3, scores, 9, &batch));
    CHECK(labels[0] == one.label && memcmp(row, scores, sizeof row) == 0);
    CHECK(batch.n_labels == 1 && batch.n_scores == 3);
    OK(modelserve_predict_batch(iris, rows[2], 3, 4, -16, labels, 3, NULL, 0, &batch));
    CHECK(labels[2] == one.label);
    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, NULL, 0, NULL, 0, &batch));
    STATUS(BUFFER_TOO_SMALL,
           modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 2, scores, 9, &batch));
    STATUS(BUFFER_TOO_SMALL,
           modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 3, scores, 8, &batch));
    STATUS(INVALID_ARGUMENT,
           modelserve_predict_batch(iris, rows[0], SIZE_MAX / 2, 4, 0, NULL, 0, NULL, 0, &batch));

    OK(modelserve_predict(text, rows[0], 4, &one));
    CHECK(one.answer == MODELSERVE_ANSWER_TEXT && one.class_index >= 0);
    OK(modelserve_model_class_count(text, &count));
    CHECK(count == 3);
    OK(modelserve_model_class_label(text, (size_t)one.class_index, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, one.label_text) == 0 && needed == strlen(buf));
    STATUS(NOT_FOUND, modelserve_model_class_label(text, 3, buf, sizeof buf, &needed));
    OK(modelserve_model_info(text, buf, sizeof buf, &needed));
    CHECK(strstr(buf, "\"digest\"") != NULL);
    OK(modelserve_model_estimated_ns(text, 1000, &nanoseconds));

    IS_NULL(modelserve_model_load(NULL, NULL, &out));
    IS_NULL(modelserve_model_load(v1, NULL, NULL));
    IS_NULL(modelserve_model_load_bytes(NULL, len, NULL, &out));
    IS_NULL(modelserve_model_load_bytes(bytes, len, NULL, NULL));
    IS_NULL(modelserve_model_pin(iris, NULL));
    IS_NULL(modelserve_model_version(iris, NULL));
    IS_NULL(modelserve_model_info(iris, NULL, 9, &needed));
    IS_NULL(modelserve_model_info(iris, buf, sizeof buf, NULL));
    IS_NULL(modelserve_model_estimated_ns(iris, 1, NULL));
    IS_NULL(modelserve_model_class_count(iris, NULL));
    IS_NULL(modelserve_model_class_label(iris, 0, NULL, 9, &needed));
    IS_NULL(modelserve_model_class_label(iris, 0, buf, sizeof buf, NULL));
    IS_NULL(modelserve_predict(iris, NULL, 4, &one));
    IS_NULL(modelserve_predict(iris, rows[0], 4, NULL));
    IS_NULL(modelserve_predict_scores(iris, NULL, 4, row, 3, &one));
    IS_NULL(modelserve_predict_scores(iris, rows[0], 4, NULL, 3, &one));
    IS_NULL(modelserve_predict_scores(iris, rows[0], 4, row, 3, NULL));
    IS_NULL(modelserve_predict_batch(iris, NULL, 3, 4, 0, labels, 3, scores, 9, &batch));
    IS_NULL(modelserve_predict_batch(iris, rows[0], 3, 4, 0, NULL, 3, scores, 9, &batch));
    IS_NULL(modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 3, NULL, 9, &batch));
    IS_NULL(modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 3, scores, 9, NULL));

    typed.id = iris.id;
    IS_INVALID(modelserve_manager_models(typed, buf, sizeof buf, &needed));
    IS_INVALID(modelserve_manager_free(typed));
    for (bit = 0; bit < 64; bit++) {
        wrong.id = iris.id ^ (uint64_t)1 << bit;
        if (wrong.id != text.id) {
            IS_INVALID(modelserve_predict(wrong, rows[0], 4, &one));
        }
    }
    OK(modelserve_model_free(iris));
    IS_INVALID(modelserve_model_free(iris));
    IS_INVALID(modelserve_model_version(iris, &version));
    OK(modelserve_model_free(text));
    free(bytes);
    CHECK(modelserve_live_handles() == 0);
}

static void tensors(const char *v1, const char *maps)
{
    static const float columns[4][3] = {
        {5.9f, 5.4f, 5.0f}, {3.0f, 3.0f, 3.5f}, {5.1f, 4.5f, 1.3f}, {1.8f, 1.5f, 0.3f}};
    static const ptrdiff_t transposed[2] = {4, 12};
    static const int64_t dims[2] = {3, 4};
    modelserve_tensor input = {0};
    modelserve_model iris, zipmap;
    modelserve_outputs outputs, again;
    const char *wanted[1];
    char name[64];
    int64_t shape[4], labels[3], turned[3];
    size_t count, rank, i;
    int32_t dtype;

    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_model_load(maps, NULL, &zipmap));
    OK(modelserve_run(iris, &input, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_count(outputs, &count));
    CHECK(count == 2);
    OK(modelserve_outputs_name(outputs, 0, name, sizeof name, &needed));
    OK(modelserve_outputs_dtype(outputs, 0, &dtype));
    CHECK(dtype == MODELSERVE_DTYPE_INT64);
    OK(modelserve_outputs_dims(outputs, 0, shape, 4, &rank));
    CHECK(rank >= 1 && shape[0] == 3);
    OK(modelserve_outputs_data(outputs, 0, labels, sizeof labels, &needed));
    CHECK(needed == sizeof labels);
    STATUS(BUFFER_TOO_SMALL, modelserve_outputs_data(outputs, 0, labels, 23, &needed));
    STATUS(NOT_FOUND, modelserve_outputs_dtype(outputs, 2, &dtype));
    STATUS(INVALID_ARGUMENT, modelserve_outputs_string(outputs, 0, 0, buf, 9, &needed));
    wanted[0] = name;
    OK(modelserve_run(iris, &input, 1, wanted, 1, &again));
    OK(modelserve_outputs_count(again, &count));
    CHECK(count == 1);
    OK(modelserve_outputs_free(again));

    /* The same rows stored by column: the strides say where they lie. */
    input.data = columns;
    input.strides = transposed;
    OK(modelserve_run(iris, &input, 1, NULL, 0, &again));
    OK(modelserve_outputs_data(again, 0, turned, sizeof turned, &needed));
    CHECK(memcmp(labels, turned, sizeof labels) == 0);
    OK(modelserve_outputs_free(again));
    input.strides = NULL;
    input.data = rows;

    input.dtype = 77;
    STATUS(INVALID_ARGUMENT, modelserve_run(iris, &input, 1, NULL, 0, &again));
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    input.rank = 1000;
    input.dims = NULL;
    IS_NULL(modelserve_run(iris, &input, 1, NULL, 0, &again));
    input.rank = 2;
    input.dims = dims;
    input.data = NULL;
    IS_NULL(modelserve_run(iris, &input, 1, NULL, 0, &again));
    input.data = columns;
    input.name = NULL;
    IS_NULL(modelserve_run(iris, &input, 1, NULL, 0, &again));
    input.name = "X";
    input.data = rows;
    IS_NULL(modelserve_run(iris, NULL, 1, NULL, 0, &again));
    IS_NULL(modelserve_run(iris, &input, 1, NULL, 1, &again));
    IS_NULL(modelserve_run(iris, &input, 1, NULL, 0, NULL));
    IS_NULL(modelserve_outputs_count(outputs, NULL));
    IS_NULL(modelserve_outputs_name(outputs, 0, NULL, 9, &needed));
    IS_NULL(modelserve_outputs_name(outputs, 0, name, sizeof name, NULL));
    IS_NULL(modelserve_outputs_dtype(outputs, 0, NULL));
    IS_NULL(modelserve_outputs_dims(outputs, 0, NULL, 4, &rank));
    IS_NULL(modelserve_outputs_dims(outputs, 0, shape, 4, NULL));
    IS_NULL(modelserve_outputs_data(outputs, 0, NULL, 24, &needed));
    IS_NULL(modelserve_outputs_data(outputs, 0, labels, 24, NULL));
    IS_NULL(modelserve_outputs_string(outputs, 0, 0, NULL, 9, &needed));
    IS_NULL(modelserve_outputs_string(outputs, 0, 0, buf, 9, NULL));
    IS_NULL(modelserve_outputs_json(outputs, 0, NULL, 9, &needed));
    IS_NULL(modelserve_outputs_json(outputs, 0, buf, sizeof buf, NULL));
    OK(modelserve_outputs_free(outputs));
    IS_INVALID(modelserve_outputs_free(outputs));
    IS_INVALID(modelserve_outputs_count(outputs, &count));

    OK(modelserve_run(zipmap, &input, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_count(outputs, &count));
    for (i = 0; i < count; i++) {
        OK(modelserve_outputs_dtype(outputs, i, &dtype));
        OK(modelserve_outputs_json(outputs, i, buf, sizeof buf, &needed));
        if (dtype == MODELSERVE_DTYPE_STRING) {
            OK(modelserve_outputs_string(outputs, i, 0, name, sizeof name, &needed));
            CHECK(strstr(buf, name) != NULL);
            STATUS(INVALID_ARGUMENT, modelserve_outputs_data(outputs, i, buf, 9, &needed));
        } else {
            CHECK(dtype == MODELSERVE_DTYPE_NONE && strstr(buf, "\"keys\"") != NULL);
            STATUS(INVALID_ARGUMENT, modelserve_outputs_dims(outputs, i, shape, 4, &rank));
        }
    }
    OK(modelserve_outputs_free(outputs));
    OK(modelserve_model_free(zipmap));
    OK(modelserve_model_free(iris));
    CHECK(modelserve_live_handles() == 0);
}

static modelserve_model shared;

static void *predict_until_freed(void *calls)
{
    modelserve_prediction one;
    modelserve_status status;
    while ((status = modelserve_predict(shared, rows[0], 4, &one)) == MODELSERVE_STATUS_OK) {
        ++*(long *)calls;
    }
    CHECK(status == MODELSERVE_STATUS_INVALID_HANDLE);
    return NULL;
}

/* Its messages are its own, and go with it. */
static void *short_life(void *unused)
{
    modelserve_prediction one;
    (void)unused;
    CHECK(modelserve_last_error(NULL, 0) == 0);
    OK(modelserve_predict(shared, rows[0], 4, &one));
    STATUS(INVALID_INPUT, modelserve_predict(shared, rows[0], 3, &one));
    CHECK(modelserve_last_error(NULL, 0) > 0);
    return NULL;
}

static void threads(const char *v1)
{
    pthread_t thread[8];
    const struct timespec moment = {0, 50000000};
    long calls[8] = {0};
    int i;
    OK(modelserve_model_load(v1, NULL, &shared));
    for (i = 0; i < 1000; i++) {
        CHECK(pthread_create(&thread[0], NULL, short_life, NULL) == 0);
        CHECK(pthread_join(thread[0], NULL) == 0);
    }
    CHECK(modelserve_last_error(NULL, 0) == 0);
    for (i = 0; i < 8; i++) {
        CHECK(pthread_create(&thread[i], NULL, predict_until_freed, &calls[i]) == 0);
    }
    nanosleep(&moment, NULL);
    OK(modelserve_model_free(shared));
    for (i = 0; i < 8; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(modelserve_live_handles() == 0);
}

static volatile sig_atomic_t signals_heard;

static void on_signal(int number)
{
    (void)number;
    signals_heard++;
}

static void *disturb(void *thread)
{
    const struct timespec moment = {0, 200000};
    int i;
    for (i = 0; i < 300; i++) {
        CHECK(pthread_kill(*(pthread_t *)thread, SIGUSR1) == 0);
        nanosleep(&moment, NULL);
    }
    return NULL;
}

/* Calls of the system that a signal interrupts are made again: no load fails for it. */
static void signals(const char *v1)
{
    struct sigaction action;
    pthread_t disturber, self = pthread_self();
    modelserve_model iris;
    modelserve_prediction one;
    int i;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pthread_create(&disturber, NULL, disturb, &self) == 0);
    for (i = 0; i < 100; i++) {
        OK(modelserve_model_load(v1, NULL, &iris));
        OK(modelserve_predict(iris, rows[0], 4, &one));
        OK(modelserve_model_free(iris));
    }
    CHECK(pthread_join(disturber, NULL) == 0);
    CHECK(signals_heard > 0);
}

static void child_of_fork(const char *v1)
{
    modelserve_model iris;
    modelserve_prediction one;
    pid_t child;
    int status;
    OK(modelserve_model_load(v1, NULL, &iris));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        _exit(modelserve_predict(iris, rows[0], 4, &one) == 0 && modelserve_model_free(iris) == 0
                  ? 0
                  : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(modelserve_model_free(iris));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    library();
    manager_calls(argv[1], argv[2]);
    predictions(argv[1], argv[3]);
    tensors(argv[1], argv[4]);
    threads(argv[1]);
    signals(argv[1]);
    child_of_fork(argv[1]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
