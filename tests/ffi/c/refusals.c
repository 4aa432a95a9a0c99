/*
 * What the functions of the serving layer refuse.
 */
#include "serving.h"

static char buf[1 << 16];
static size_t needed;

static void on_answer(void *data, modelserve_status status, const modelserve_prediction *p,
                      const modelserve_receipt *r, const char *error)
{
    (void)data;
    (void)status;
    (void)p;
    (void)r;
    (void)error;
    CHECK(!"a request that was refused is not answered");
}

static void on_event(void *data, const modelserve_event *event)
{
    (void)data;
    (void)event;
    CHECK(!"nobody listens");
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
    modelserve_manager_options with;
    uint64_t version;
    double scores[9];
    int64_t labels[3];

    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;

    STATUS(INVALID_ARGUMENT, modelserve_manager_options_init(&with, 0));
    STATUS(INVALID_ARGUMENT, modelserve_manager_options_init(&with, sizeof with.struct_size));
    STATUS(INVALID_ARGUMENT, modelserve_manager_options_init(&with, (size_t)-1));
    IS_NULL(modelserve_manager_options_init(NULL, 0));
    IS_NULL(modelserve_request_options_init(NULL, 0));
    IS_NULL(modelserve_gate_options_init(NULL, 0));
    IS_NULL(modelserve_repository_options_init(NULL, 0));
    IS_NULL(modelserve_manager_new_with(NULL, NULL));
    IS_NULL(modelserve_manager_from_config(NULL, &other));
    IS_NULL(modelserve_manager_from_config("x", NULL));
    IS_NULL(modelserve_inspect_json(NULL, NULL, buf, sizeof buf, &needed));
    IS_NULL(modelserve_inspect_json("x", NULL, buf, sizeof buf, NULL));
    IS_NULL(modelserve_inspect_bytes_json(NULL, 3, NULL, buf, sizeof buf, &needed));
    STATUS(NOT_FOUND, modelserve_inspect_json("/nowhere/x", NULL, buf, sizeof buf, &needed));

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

    input.dtype = MODELSERVE_DTYPE_BOOL;
    input.data = "\0\1\2\0\0\0\0\0\0\0\0";
    STATUS(INVALID_INPUT, modelserve_run_with(iris, &input, 1, NULL, 0, NULL, &outputs, NULL));
    input.dtype = 0;
    STATUS(INVALID_ARGUMENT, modelserve_run_with(iris, &input, 1, NULL, 0, NULL, &outputs, NULL));
    input.dtype = INT32_MAX;
    STATUS(INVALID_ARGUMENT, modelserve_run_with(iris, &input, 1, NULL, 0, NULL, &outputs, NULL));
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    input.data = rows;

    IS_NULL(modelserve_predict_submit(iris, NULL, 4, NULL, on_answer, NULL, &request));
    IS_NULL(modelserve_predict_submit(iris, rows[0], 4, NULL, NULL, NULL, &request));
    IS_INVALID(modelserve_predict_submit(no_model, rows[0], 4, NULL, on_answer, NULL, &request));
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
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    refusals();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
