/*
 * Batches and runs on the library's threads: each submitted one is answered exactly once, with the
 * answers of its own rows. Arguments: two versions of the iris model.
 */
#include "waiting.h"

enum { REQUESTS = 300, BURST = 32 };

static int answered, cancelled;
static pthread_t submitter;
static int64_t expected[3];
static double expected_scores[9];

struct ask {
    /* The first row of the request, which goes on from there in circles. */
    int first;
    int n_rows;
    int calls;
    int own_thread;
    modelserve_status status;
    modelserve_outputs outputs;
};

static void note(struct ask *ask, modelserve_status status)
{
    ask->calls++;
    ask->own_thread = pthread_equal(pthread_self(), submitter);
    ask->status = status;
    if (status == MODELSERVE_STATUS_CANCELLED) {
        add(&cancelled);
    }
    add(&answered);
}

static void on_batch(void *data, modelserve_status status, const modelserve_batch_answers *answers,
                     const modelserve_receipt *receipt, const char *error)
{
    struct ask *ask = data;
    int i;
    if (status == MODELSERVE_STATUS_OK) {
        CHECK(error == NULL && answers->n_rows == (size_t)ask->n_rows);
        CHECK(answers->batch.answer == MODELSERVE_ANSWER_INT);
        CHECK(answers->batch.n_labels == (ask->n_rows > 0 ? 1 : 0));
        CHECK(answers->batch.n_scores == (ask->n_rows > 0 ? 3 : 0));
        CHECK((answers->labels != NULL) == (ask->n_rows > 0));
        CHECK((answers->scores != NULL) == (ask->n_rows > 0));
        CHECK(answers->batch.model_version == receipt->version);
        CHECK(receipt->version == 1 && strcmp(receipt->model, "iris") == 0);
        for (i = 0; i < ask->n_rows; i++) {
            const int row = (ask->first + i) % 3;
            CHECK(answers->labels[i] == expected[row]);
            CHECK(memcmp(&answers->scores[3 * i], &expected_scores[3 * row], 24) == 0);
        }
    } else {
        CHECK(answers == NULL && receipt == NULL && error[0] != '\0');
    }
    note(ask, status);
}

static void on_run(void *data, modelserve_status status, modelserve_outputs outputs,
                   const modelserve_receipt *receipt, const char *error)
{
    struct ask *ask = data;
    if (status == MODELSERVE_STATUS_OK) {
        CHECK(error == NULL && outputs.id != 0 && receipt->version == 1);
    } else {
        CHECK(outputs.id == 0 && receipt == NULL && error[0] != '\0');
    }
    ask->outputs = outputs;
    note(ask, status);
}

static void learn(void)
{
    modelserve_model model;
    modelserve_batch batch;
    OK(modelserve_model_load(v1, NULL, &model));
    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, expected, 3, expected_scores, 9, &batch));
    OK(modelserve_model_free(model));
}

/* The rows of a request, forwards or from the end backwards; answers the stride. */
static ptrdiff_t lay_out(const struct ask *ask, int backwards, float place[5][4], float **first)
{
    int i;
    for (i = 0; i < ask->n_rows; i++) {
        const int at = backwards ? ask->n_rows - 1 - i : i;
        memcpy(place[at], rows[(ask->first + i) % 3], sizeof rows[0]);
    }
    *first = place[backwards && ask->n_rows > 0 ? ask->n_rows - 1 : 0];
    return backwards ? -(ptrdiff_t)sizeof rows[0] : 0;
}

static void batches(void)
{
    static struct ask asks[REQUESTS];
    struct ask single = {0};
    modelserve_model iris, alone;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request request[BURST];
    modelserve_request_options with;
    float place[5][4], *first;
    ptrdiff_t stride;
    int i, round, told = answered;

    OK(modelserve_manager_configure(manager, "iris",
                                    "[batching]\nmax_batch_size = 16\nmax_queue_delay = \"1ms\""));
    for (i = 0; i < REQUESTS; i++) {
        asks[i].first = i % 3;
        asks[i].n_rows = i % 6;
        stride = lay_out(&asks[i], i % 2, place, &first);
        OK(modelserve_predict_batch_submit(iris, first, (size_t)asks[i].n_rows, 4, stride, NULL,
                                           on_batch, &asks[i], NULL));
        /* The rows are copied. */
        memset(place, 0, sizeof place);
    }
    wait_for(&answered, told + REQUESTS);
    for (i = 0; i < REQUESTS; i++) {
        CHECK(asks[i].calls == 1 && asks[i].status == MODELSERVE_STATUS_OK);
        CHECK(!asks[i].own_thread);
    }
    CHECK(cancelled == 0);

    /* Each is answered or cancelled; sooner or later one is cancelled while it waits. */
    for (round = 0; round < 1000 && cancelled == 0; round++) {
        told = answered;
        memset(asks, 0, sizeof asks);
        for (i = 0; i < BURST; i++) {
            asks[i].n_rows = 3;
            OK(modelserve_predict_batch_submit(iris, rows[0], 3, 4, 0, NULL, on_batch, &asks[i],
                                               &request[i]));
        }
        for (i = BURST - 1; i >= 0; i--) {
            OK(modelserve_request_cancel(request[i]));
        }
        wait_for(&answered, told + BURST);
        for (i = 0; i < BURST; i++) {
            CHECK(asks[i].calls == 1);
            CHECK(asks[i].status == 0 || asks[i].status == MODELSERVE_STATUS_CANCELLED);
            OK(modelserve_request_free(request[i]));
        }
    }
    CHECK(cancelled > 0);

    /* What is refused comes to the callback, too. */
    told = answered;
    OK(modelserve_predict_batch_submit(iris, rows[0], 4, 3, 0, NULL, on_batch, &single, NULL));
    wait_for(&answered, told + 1);
    CHECK(single.status == MODELSERVE_STATUS_INVALID_INPUT && single.calls == 1);
    OK(modelserve_request_options_init(&with, sizeof with));
    with.version = 9;
    OK(modelserve_predict_batch_submit(iris, rows[0], 3, 4, 0, &with, on_batch, &single, NULL));
    wait_for(&answered, told + 2);
    CHECK(single.status == MODELSERVE_STATUS_NOT_FOUND && single.calls == 2);
    with.version = 0;
    with.timeout_ns = 1;
    OK(modelserve_predict_batch_submit(iris, rows[0], 3, 4, 0, &with, on_batch, &single, NULL));
    wait_for(&answered, told + 3);
    CHECK(single.status == MODELSERVE_STATUS_DEADLINE_EXCEEDED && single.calls == 3);

    /* A request under way outlives its handles. */
    single.n_rows = 3;
    OK(modelserve_predict_batch_submit(iris, rows[0], 3, 4, 0, NULL, on_batch, &single,
                                       &request[0]));
    OK(modelserve_request_free(request[0]));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    wait_for(&answered, told + 4);
    CHECK(single.status == MODELSERVE_STATUS_OK && single.calls == 4);

    OK(modelserve_model_load(v1, NULL, &alone));
    IS_NULL(modelserve_predict_batch_submit(alone, NULL, 3, 4, 0, NULL, on_batch, &single, NULL));
    IS_NULL(modelserve_predict_batch_submit(alone, rows[0], 3, 4, 0, NULL, NULL, &single, NULL));
    STATUS(INVALID_ARGUMENT, modelserve_predict_batch_submit(alone, rows[0], SIZE_MAX / 2, 4, 0,
                                                             NULL, on_batch, &single, NULL));
    with.priority = 999;
    STATUS(INVALID_ARGUMENT, modelserve_predict_batch_submit(alone, rows[0], 3, 4, 0, &with,
                                                             on_batch, &single, NULL));
    OK(modelserve_model_free(alone));
    IS_INVALID(modelserve_predict_batch_submit(alone, rows[0], 3, 4, 0, NULL, on_batch, &single,
                                               &request[0]));
    CHECK(single.calls == 4 && answered == told + 4);
}

static void runs(void)
{
    static const int64_t dims[2] = {3, 4}, narrow[2] = {4, 3};
    static struct ask asks[REQUESTS];
    struct ask single = {0};
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris);
    modelserve_request request[BURST], none = {0};
    modelserve_tensor input = {0};
    const char *wanted[2];
    char name[64];
    int64_t labels[3];
    float copy[3][4];
    size_t count, needed;
    int i, round, told = answered;

    input.name = "X";
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    input.data = rows;
    OK(modelserve_run(iris, &input, 1, NULL, 0, &single.outputs));
    OK(modelserve_outputs_name(single.outputs, 0, name, sizeof name, &needed));
    OK(modelserve_outputs_free(single.outputs));
    OK(modelserve_manager_configure(manager, "iris",
                                    "[batching]\nmax_batch_size = 16\nmax_queue_delay = \"1ms\""));
    wanted[0] = name;
    wanted[1] = "no such output";
    cancelled = 0;
    for (i = 0; i < REQUESTS; i++) {
        memcpy(copy, rows, sizeof copy);
        input.data = copy;
        OK(modelserve_run_submit(iris, &input, 1, wanted, (size_t)(i % 2), NULL, on_run, &asks[i],
                                 NULL));
        memset(copy, 0, sizeof copy);
    }
    wait_for(&answered, told + REQUESTS);
    for (i = 0; i < REQUESTS; i++) {
        CHECK(asks[i].calls == 1 && asks[i].status == MODELSERVE_STATUS_OK);
        CHECK(!asks[i].own_thread);
        OK(modelserve_outputs_count(asks[i].outputs, &count));
        CHECK(count == (i % 2 == 1 ? 1 : 2));
        OK(modelserve_outputs_data(asks[i].outputs, 0, labels, sizeof labels, &needed));
        CHECK(memcmp(labels, expected, sizeof labels) == 0);
        OK(modelserve_outputs_free(asks[i].outputs));
    }

    input.data = rows;
    for (round = 0; round < 1000 && cancelled == 0; round++) {
        told = answered;
        memset(asks, 0, sizeof asks);
        for (i = 0; i < BURST; i++) {
            OK(modelserve_run_submit(iris, &input, 1, NULL, 0, NULL, on_run, &asks[i],
                                     &request[i]));
        }
        for (i = BURST - 1; i >= 0; i--) {
            OK(modelserve_request_cancel(request[i]));
        }
        wait_for(&answered, told + BURST);
        for (i = 0; i < BURST; i++) {
            CHECK(asks[i].calls == 1);
            CHECK(asks[i].status == 0 || asks[i].status == MODELSERVE_STATUS_CANCELLED);
            OK(modelserve_outputs_free(asks[i].outputs));
            OK(modelserve_request_free(request[i]));
        }
    }
    CHECK(cancelled > 0);

    told = answered;
    OK(modelserve_run_submit(iris, &input, 1, wanted, 2, NULL, on_run, &single, &request[0]));
    wait_for(&answered, told + 1);
    CHECK(single.status == MODELSERVE_STATUS_INVALID_INPUT && single.calls == 1);
    OK(modelserve_request_free(request[0]));
    input.dims = narrow;
    OK(modelserve_run_submit(iris, &input, 1, NULL, 0, NULL, on_run, &single, NULL));
    wait_for(&answered, told + 2);
    CHECK(single.status == MODELSERVE_STATUS_INVALID_INPUT && single.calls == 2);
    input.dims = dims;

    IS_NULL(modelserve_run_submit(iris, NULL, 1, NULL, 0, NULL, on_run, &single, NULL));
    IS_NULL(modelserve_run_submit(iris, &input, 1, NULL, 1, NULL, on_run, &single, NULL));
    IS_NULL(modelserve_run_submit(iris, &input, 1, NULL, 0, NULL, NULL, &single, NULL));
    input.dtype = 77;
    STATUS(INVALID_ARGUMENT,
           modelserve_run_submit(iris, &input, 1, NULL, 0, NULL, on_run, &single, NULL));
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    OK(modelserve_model_free(iris));
    request[0] = none;
    IS_INVALID(modelserve_run_submit(iris, &input, 1, NULL, 0, NULL, on_run, &single,
                                     &request[0]));
    CHECK(request[0].id == 0 && single.calls == 2 && answered == told + 2);
    OK(modelserve_manager_free(manager));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    learn();
    submitter = pthread_self();
    batches();
    runs();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
