/*
 * The caller's memory: prepared requests, rows with gaps, runs into buffers. Arguments: two
 * versions of the iris model that disagree on the first row, one with text labels.
 */
#include "serving.h"

#include <pthread.h>

static double want_scores[9];

static modelserve_layout iris_layout(void)
{
    modelserve_layout layout;
    OK(modelserve_layout_init(&layout, sizeof layout));
    CHECK(layout.struct_size == sizeof layout && layout.width == 0 && layout.max_rows == 0);
    layout.width = 4;
    layout.max_rows = 3;
    return layout;
}

static void predicts(modelserve_prepared prepared, const void *from, size_t n_rows,
                     const int64_t *want)
{
    modelserve_batch batch;
    int64_t labels[3] = {-7, -7, -7};
    double scores[9];
    size_t i;
    OK(modelserve_prepared_predict(prepared, from, n_rows, labels, 3, scores, 9, &batch, NULL));
    CHECK(batch.n_labels == 1 && batch.n_scores == 3 && batch.answer == MODELSERVE_ANSWER_INT);
    for (i = 0; i < n_rows; i++) {
        CHECK(labels[i] == want[i]);
    }
    CHECK(n_rows == 3 || labels[n_rows] == -7);
    CHECK(memcmp(scores, want_scores, n_rows * 3 * sizeof *scores) == 0);
}

static void layouts(void)
{
    static const float by_column[4][3] = {
        {5.9f, 5.4f, 5.0f}, {3.0f, 3.0f, 3.5f}, {5.1f, 4.5f, 1.3f}, {1.8f, 1.5f, 0.3f}};
    double wide[3][8];
    modelserve_layout layout = iris_layout();
    modelserve_prepared prepared, again;
    modelserve_model iris;
    modelserve_batch batch;
    char misaligned[sizeof rows + 1];
    int i, j;

    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, NULL, 0, want_scores, 9, &batch));

    OK(modelserve_prepare(iris, &layout, NULL, &prepared));
    predicts(prepared, rows, 3, one);
    predicts(prepared, rows, 1, one);
    memcpy(misaligned + 1, rows, sizeof rows);
    predicts(prepared, misaligned + 1, 3, one);
    STATUS(INVALID_ARGUMENT, modelserve_prepared_predict(prepared, rows, 4, NULL, 0, NULL, 0,
                                                         &batch, NULL));
    OK(modelserve_prepared_predict(prepared, NULL, 0, NULL, 0, NULL, 0, &batch, NULL));
    STATUS(BUFFER_TOO_SMALL, modelserve_prepared_predict(prepared, rows, 3, NULL, 0, want_scores,
                                                         8, &batch, NULL));
    OK(modelserve_prepared_free(prepared));
    IS_INVALID(modelserve_prepared_free(prepared));
    IS_INVALID(modelserve_prepared_predict(prepared, rows, 3, NULL, 0, NULL, 0, &batch, NULL));

    layout.row_stride = sizeof(float);
    layout.feature_stride = 3 * sizeof(float);
    OK(modelserve_prepare(iris, &layout, NULL, &prepared));
    predicts(prepared, by_column, 3, one);
    predicts(prepared, by_column, 2, one);

    for (i = 0; i < 3; i++) {
        for (j = 0; j < 4; j++) {
            wide[i][7 - 2 * j] = rows[i][j];
        }
    }
    layout.dtype = MODELSERVE_DTYPE_FLOAT64;
    layout.row_stride = sizeof wide[0];
    layout.feature_stride = -2 * (ptrdiff_t)sizeof(double);
    OK(modelserve_prepare(iris, &layout, NULL, &again));
    predicts(again, &wide[0][7], 3, one);
    OK(modelserve_prepared_free(again));

    /* It outlives the model that it was made from. */
    OK(modelserve_model_free(iris));
    predicts(prepared, by_column, 3, one);
    IS_NULL(modelserve_prepared_predict(prepared, NULL, 3, NULL, 0, NULL, 0, &batch, NULL));
    IS_NULL(modelserve_prepared_predict(prepared, rows, 3, NULL, 3, NULL, 0, &batch, NULL));
    IS_NULL(modelserve_prepared_predict(prepared, rows, 3, NULL, 0, NULL, 3, &batch, NULL));
    IS_NULL(modelserve_prepared_predict(prepared, rows, 3, NULL, 0, NULL, 0, NULL, NULL));
    OK(modelserve_prepared_free(prepared));
    IS_NULL(modelserve_layout_init(NULL, 0));
}

static modelserve_prepared shared;
static const float pairs[2][4][3] = {
    {{5.9f, 5.4f, 5.0f}, {3.0f, 3.0f, 3.5f}, {5.1f, 4.5f, 1.3f}, {1.8f, 1.5f, 0.3f}},
    {{5.0f, 5.4f, 5.9f}, {3.5f, 3.0f, 3.0f}, {1.3f, 4.5f, 5.1f}, {0.3f, 1.5f, 1.8f}}};

static void *predict_often(void *which)
{
    const int turned = which != NULL;
    modelserve_batch batch;
    int64_t labels[3];
    int i;
    for (i = 0; i < 500; i++) {
        OK(modelserve_prepared_predict(shared, pairs[turned], 3, labels, 3, NULL, 0, &batch, NULL));
        CHECK(labels[0] == one[turned ? 2 : 0] && labels[2] == one[turned ? 0 : 2]);
    }
    return NULL;
}

/* Threads that share a prepared request do not see each other's rows. */
static void threads(void)
{
    modelserve_layout layout = iris_layout();
    modelserve_model iris;
    pthread_t thread[4];
    int i;
    layout.row_stride = sizeof(float);
    layout.feature_stride = 3 * sizeof(float);
    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_prepare(iris, &layout, NULL, &shared));
    for (i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread[i], NULL, predict_often, i % 2 ? &shared : NULL) == 0);
    }
    for (i = 0; i < 4; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    OK(modelserve_prepared_free(shared));
    OK(modelserve_model_free(iris));
}

static void options(void)
{
    modelserve_layout layout = iris_layout(), wrong;
    modelserve_request_options with;
    modelserve_prepared follows, second, timed;
    modelserve_manager manager;
    modelserve_model iris, pinned;
    modelserve_batch batch;
    modelserve_receipt receipt;
    int64_t labels[3];
    uint64_t version;

    manager = two_versions(&iris);
    OK(modelserve_prepare(iris, &layout, NULL, &follows));
    OK(modelserve_request_options_init(&with, sizeof with));
    with.version = 2;
    OK(modelserve_prepare(iris, &layout, &with, &second));
    with.version = 0;
    with.timeout_ns = (uint64_t)HANG_SECONDS * 1000000000;
    OK(modelserve_prepare(iris, &layout, &with, &timed));
    OK(modelserve_prepared_predict(second, rows, 3, labels, 3, NULL, 0, &batch, &receipt));
    CHECK(memcmp(labels, two, sizeof labels) == 0 && receipt.version == 2);
    CHECK(strcmp(receipt.model, "iris") == 0);
    OK(modelserve_prepared_predict(timed, rows, 3, labels, 3, NULL, 0, &batch, &receipt));
    CHECK(memcmp(labels, one, sizeof labels) == 0 && receipt.version == 1);
    OK(modelserve_manager_reload(manager, "iris", v2, NULL, &version));
    OK(modelserve_prepared_predict(follows, rows, 3, labels, 3, NULL, 0, &batch, &receipt));
    CHECK(memcmp(labels, two, sizeof labels) == 0 && receipt.version == version);

    OK(modelserve_model_pin(iris, &pinned));
    with.version = 1;
    STATUS(NOT_FOUND, modelserve_prepare(pinned, &layout, &with, &timed));
    wrong = layout;
    wrong.dtype = MODELSERVE_DTYPE_INT64;
    STATUS(INVALID_ARGUMENT, modelserve_prepare(iris, &wrong, NULL, &timed));
    wrong = layout;
    wrong.struct_size = 8;
    STATUS(INVALID_ARGUMENT, modelserve_prepare(iris, &wrong, NULL, &timed));
    wrong = layout;
    wrong.width = 3;
    OK(modelserve_prepared_free(timed));
    OK(modelserve_prepare(iris, &wrong, NULL, &timed));
    STATUS(INVALID_INPUT, modelserve_prepared_predict(timed, rows, 3, labels, 3, NULL, 0, &batch,
                                                      NULL));
    IS_NULL(modelserve_prepare(iris, NULL, NULL, &timed));
    IS_NULL(modelserve_prepare(iris, &layout, NULL, NULL));
    OK(modelserve_prepared_free(timed));
    OK(modelserve_prepared_free(second));
    OK(modelserve_prepared_free(follows));
    OK(modelserve_model_free(pinned));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    IS_INVALID(modelserve_prepare(iris, &layout, NULL, &timed));
}

static void runs(const char *strings)
{
    static const int64_t dims[2] = {3, 4};
    modelserve_tensor input = {0};
    modelserve_buffer buffers[2] = {{0}, {0}};
    modelserve_model iris, text;
    modelserve_receipt receipt;
    char names[2][64];
    int64_t labels[3], shape[2] = {0, 0};
    float scores[9];
    size_t needed, i;

    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    OK(modelserve_model_load(v1, NULL, &iris));
    for (i = 0; i < 2; i++) {
        OK(modelserve_model_output(iris, i, NULL, names[i], sizeof names[i], &needed));
        buffers[1 - i].name = names[i];
    }
    /* The outputs in another order than the model's; first without room. */
    STATUS(BUFFER_TOO_SMALL, modelserve_run_into(iris, &input, 1, buffers, 2, NULL, NULL));
    CHECK(buffers[0].needed == sizeof scores && buffers[0].rank == 2);
    CHECK(buffers[0].dtype == MODELSERVE_DTYPE_FLOAT32);
    CHECK(buffers[1].needed == sizeof labels && buffers[1].dtype == MODELSERVE_DTYPE_INT64);
    buffers[0].data = scores;
    buffers[0].len = sizeof scores;
    buffers[0].dims = shape;
    buffers[0].dims_len = 2;
    buffers[1].data = labels;
    buffers[1].len = sizeof labels;
    OK(modelserve_run_into(iris, &input, 1, buffers, 2, NULL, &receipt));
    CHECK(memcmp(labels, one, sizeof labels) == 0 && receipt.version == 1);
    CHECK(shape[0] == 3 && shape[1] == 3);
    for (i = 0; i < 9; i++) {
        CHECK((double)scores[i] == want_scores[i]);
    }
    buffers[0].dims_len = 1;
    shape[0] = 7;
    STATUS(BUFFER_TOO_SMALL, modelserve_run_into(iris, &input, 1, buffers, 2, NULL, NULL));
    CHECK(shape[0] == 7);
    buffers[0].dims_len = 0;
    buffers[0].name = "none";
    STATUS(INVALID_INPUT, modelserve_run_into(iris, &input, 1, buffers, 2, NULL, NULL));
    buffers[0].name = NULL;
    IS_NULL(modelserve_run_into(iris, &input, 1, buffers, 2, NULL, NULL));
    buffers[0].name = names[1];
    buffers[0].data = NULL;
    IS_NULL(modelserve_run_into(iris, &input, 1, buffers, 2, NULL, NULL));
    IS_NULL(modelserve_run_into(iris, &input, 1, NULL, 2, NULL, NULL));
    IS_NULL(modelserve_run_into(iris, NULL, 1, buffers + 1, 1, NULL, NULL));
    STATUS(INVALID_ARGUMENT, modelserve_run_into(iris, &input, 1, NULL, 0, NULL, NULL));
    OK(modelserve_model_free(iris));
    IS_INVALID(modelserve_run_into(iris, &input, 1, buffers + 1, 1, NULL, NULL));

    OK(modelserve_model_load(strings, NULL, &text));
    OK(modelserve_model_input(text, 0, NULL, names[1], sizeof names[1], &needed));
    OK(modelserve_model_output(text, 0, NULL, names[0], sizeof names[0], &needed));
    input.name = names[1];
    buffers[1].name = names[0];
    STATUS(INVALID_ARGUMENT, modelserve_run_into(text, &input, 1, buffers + 1, 1, NULL, NULL));
    OK(modelserve_model_free(text));
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    learn_answers(argv);
    layouts();
    threads();
    options();
    runs(argv[3]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
