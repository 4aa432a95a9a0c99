/*
 * Leases, what a model says of its inputs, doubles and columns that are submitted, HTTP with
 * options and callbacks, models of a repository, class labels. Arguments: two versions of the iris
 * model that disagree on the first row.
 */
#include "waiting.h"

#include <sys/stat.h>
#include <unistd.h>

static char buf[1 << 16];
static size_t needed;

static void leases(void)
{
    modelserve_model iris, leased, other;
    modelserve_manager manager = two_versions(&iris), gone = {12345};
    modelserve_prediction p;
    uint64_t version;
    int32_t can = -1;

    OK(modelserve_manager_set_label(manager, "iris", "next", 2));
    OK(modelserve_manager_lease(manager, "iris", 2, NULL, &leased));
    OK(modelserve_predict(leased, rows[0], 4, &p));
    CHECK(p.label == two[0] && p.model_version == 2);
    OK(modelserve_manager_lease(manager, "iris", 0, "next", &other));
    OK(modelserve_model_version(other, &version));
    CHECK(version == 2);
    OK(modelserve_model_free(other));
    OK(modelserve_manager_lease(manager, "iris", 0, NULL, &other));
    OK(modelserve_model_version(other, &version));
    CHECK(version == 1);
    OK(modelserve_model_free(other));
    OK(modelserve_manager_can_answer(manager, "iris", 2, NULL, &can));
    CHECK(can == 1);
    OK(modelserve_manager_can_answer(manager, "iris", 0, "next", &can));
    CHECK(can == 1);
    STATUS(NOT_FOUND, modelserve_manager_lease(manager, "iris", 9, NULL, &other));
    STATUS(NOT_FOUND, modelserve_manager_lease(manager, "iris", 0, "none", &other));
    STATUS(NOT_FOUND, modelserve_manager_lease(manager, "none", 0, NULL, &other));
    STATUS(INVALID_ARGUMENT, modelserve_manager_lease(manager, "iris", 2, "next", &other));
    STATUS(NOT_FOUND, modelserve_manager_can_answer(manager, "iris", 9, NULL, &can));
    STATUS(INVALID_ARGUMENT, modelserve_manager_can_answer(manager, "iris", 2, "next", &can));
    IS_NULL(modelserve_manager_lease(manager, NULL, 0, NULL, &other));
    IS_NULL(modelserve_manager_lease(manager, "iris", 0, NULL, NULL));
    IS_NULL(modelserve_manager_can_answer(manager, NULL, 0, NULL, &can));
    IS_NULL(modelserve_manager_can_answer(manager, "iris", 0, NULL, NULL));
    IS_INVALID(modelserve_manager_lease(gone, "iris", 0, NULL, &other));
    IS_INVALID(modelserve_manager_can_answer(gone, "iris", 0, NULL, &can));

    /* A lease outlives its version. */
    OK(modelserve_manager_unload(manager, "iris"));
    OK(modelserve_predict(leased, rows[0], 4, &p));
    CHECK(p.label == two[0]);
    OK(modelserve_model_free(leased));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static void signature(void)
{
    modelserve_model iris;
    modelserve_spec spec;
    size_t count = 0;

    OK(modelserve_model_load(v1, NULL, &iris));
    OK(modelserve_model_input_count(iris, &count));
    CHECK(count == 1);
    OK(modelserve_model_input(iris, 0, &spec, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "X") == 0 && needed == 1);
    CHECK(spec.dtype == MODELSERVE_DTYPE_FLOAT32 && spec.rank == 2 && spec.batch_axis == 0);
    CHECK(spec.dims[0] == -1 && spec.dims[1] == 4 && spec.reserved == 0);
    OK(modelserve_model_output_count(iris, &count));
    CHECK(count == 2);
    OK(modelserve_model_output(iris, 0, &spec, NULL, 0, &needed));
    CHECK(spec.dtype == MODELSERVE_DTYPE_INT64 && needed > 0);
    spec.dtype = 77;
    STATUS(BUFFER_TOO_SMALL, modelserve_model_input(iris, 0, &spec, buf, 1, &needed));
    CHECK(spec.dtype == 77 && needed == 1);
    STATUS(NOT_FOUND, modelserve_model_input(iris, 1, &spec, buf, sizeof buf, &needed));
    STATUS(NOT_FOUND, modelserve_model_output(iris, 2, &spec, buf, sizeof buf, &needed));
    OK(modelserve_model_input(iris, 0, NULL, buf, sizeof buf, &needed));
    IS_NULL(modelserve_model_input(iris, 0, &spec, NULL, 9, &needed));
    IS_NULL(modelserve_model_input(iris, 0, &spec, buf, sizeof buf, NULL));
    IS_NULL(modelserve_model_output(iris, 0, &spec, NULL, 9, &needed));
    IS_NULL(modelserve_model_output(iris, 0, &spec, buf, sizeof buf, NULL));
    IS_NULL(modelserve_model_input_count(iris, NULL));
    IS_NULL(modelserve_model_output_count(iris, NULL));
    OK(modelserve_model_free(iris));
    IS_INVALID(modelserve_model_input_count(iris, &count));
    IS_INVALID(modelserve_model_output_count(iris, &count));
    IS_INVALID(modelserve_model_input(iris, 0, &spec, buf, sizeof buf, &needed));
    IS_INVALID(modelserve_model_output(iris, 0, &spec, buf, sizeof buf, &needed));
}

/* Class labels of the caller's in place of the file's: numbers, text, and what is neither. */
static void classes(void)
{
    static const int64_t numbers[3] = {-7, 40, 41};
    static const char *const words[3] = {"one", "two", "three"};
    modelserve_load_options options;
    modelserve_model model;
    size_t count = 0;

    OK(modelserve_load_options_init(&options, sizeof options));
    options.class_ints = numbers;
    options.n_classes = 3;
    OK(modelserve_model_load(v1, &options, &model));
    OK(modelserve_model_class_count(model, &count));
    OK(modelserve_model_class_label(model, 1, buf, sizeof buf, &needed));
    CHECK(count == 3 && strcmp(buf, "40") == 0);
    OK(modelserve_model_class_label(model, 0, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "-7") == 0);
    OK(modelserve_model_free(model));

    options.class_strings = words;
    STATUS(INVALID_ARGUMENT, modelserve_model_load(v1, &options, &model));
    options.class_ints = NULL;
    OK(modelserve_model_load(v1, &options, &model));
    OK(modelserve_model_class_label(model, 1, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "two") == 0);
    STATUS(NOT_FOUND, modelserve_model_class_label(model, 3, buf, sizeof buf, &needed));
    OK(modelserve_model_free(model));

    options.class_strings = NULL;
    IS_NULL(modelserve_model_load(v1, &options, &model));
}

static int answered;

static void on_row(void *data, modelserve_status status, const modelserve_prediction *prediction,
                   const modelserve_receipt *receipt, const char *error)
{
    CHECK(status == MODELSERVE_STATUS_OK && error == NULL && receipt->version == 1);
    CHECK(prediction->label == *(const int64_t *)data);
    add(&answered);
}

static void on_rows(void *data, modelserve_status status, const modelserve_batch_answers *answers,
                    const modelserve_receipt *receipt, const char *error)
{
    CHECK(status == MODELSERVE_STATUS_OK && error == NULL && receipt->version == 1);
    CHECK(answers->n_rows == 3 && memcmp(answers->labels, data, 3 * sizeof(int64_t)) == 0);
    add(&answered);
}

static void on_refusal(void *data, modelserve_status status,
                       const modelserve_batch_answers *answers, const modelserve_receipt *receipt,
                       const char *error)
{
    CHECK(answers == NULL && receipt == NULL && error[0] != '\0');
    *(modelserve_status *)data = status;
    add(&answered);
}

static void submits(void)
{
    static const char *const names[4] = {"sl", "sw", "pl", "pw"};
    static const int64_t dims[1] = {3};
    static const ptrdiff_t apart[1] = {4 * sizeof(float)};
    double doubles[3][4];
    modelserve_load_options load;
    modelserve_tensor columns[4];
    modelserve_model iris, gone = {54321};
    modelserve_request request;
    modelserve_status refused = 0;
    int i, j;

    for (i = 0; i < 3; i++) {
        for (j = 0; j < 4; j++) {
            doubles[i][j] = rows[i][j];
        }
    }
    memset(columns, 0, sizeof columns);
    for (i = 0; i < 4; i++) {
        columns[i].name = names[i];
        columns[i].data = &rows[0][i];
        columns[i].dims = dims;
        columns[i].strides = apart;
        columns[i].rank = 1;
        columns[i].dtype = MODELSERVE_DTYPE_FLOAT32;
    }
    OK(modelserve_load_options_init(&load, sizeof load));
    load.feature_names = names;
    load.n_feature_names = 4;
    OK(modelserve_model_load(v1, &load, &iris));
    OK(modelserve_predict_submit_f64(iris, doubles[0], 4, NULL, on_row, &one[0], NULL));
    OK(modelserve_predict_batch_submit_f64(iris, doubles[0], 3, 4, 0, NULL, on_rows, one, NULL));
    OK(modelserve_predict_columns_submit(iris, columns, 4, NULL, on_rows, one, &request));
    wait_for(&answered, 3);
    OK(modelserve_request_free(request));
    OK(modelserve_predict_columns_submit(iris, columns, 3, NULL, on_refusal, &refused, NULL));
    wait_for(&answered, 4);
    CHECK(refused == MODELSERVE_STATUS_INVALID_INPUT);

    IS_NULL(modelserve_predict_submit_f64(iris, NULL, 4, NULL, on_row, NULL, NULL));
    IS_NULL(modelserve_predict_submit_f64(iris, doubles[0], 4, NULL, NULL, NULL, NULL));
    IS_INVALID(modelserve_predict_submit_f64(gone, doubles[0], 4, NULL, on_row, NULL, NULL));
    IS_NULL(modelserve_predict_batch_submit_f64(iris, NULL, 3, 4, 0, NULL, on_rows, NULL, NULL));
    IS_NULL(modelserve_predict_batch_submit_f64(iris, doubles[0], 3, 4, 0, NULL, NULL, NULL, NULL));
    IS_INVALID(
        modelserve_predict_batch_submit_f64(gone, doubles[0], 3, 4, 0, NULL, on_rows, NULL, NULL));
    IS_NULL(modelserve_predict_columns_submit(iris, NULL, 4, NULL, on_rows, NULL, NULL));
    IS_NULL(modelserve_predict_columns_submit(iris, columns, 4, NULL, NULL, NULL, NULL));
    IS_INVALID(modelserve_predict_columns_submit(gone, columns, 4, NULL, on_rows, NULL, NULL));
    columns[0].dims = NULL;
    IS_NULL(modelserve_predict_columns_submit(iris, columns, 4, NULL, on_rows, NULL, NULL));
    OK(modelserve_model_free(iris));
}

static int responses;
static int32_t last_status;

static void on_response(void *data, modelserve_http_response response)
{
    CHECK(data == (void *)&responses);
    OK(modelserve_http_response_status(response, &last_status));
    OK(modelserve_http_response_free(response));
    add(&responses);
}

static int32_t status_of(modelserve_http http, const char *method, const char *target,
                         const char *body)
{
    modelserve_http_response response;
    int32_t status;
    OK(modelserve_http_handle(http, method, target, NULL, NULL, 0, (const uint8_t *)body,
                              strlen(body), &response));
    OK(modelserve_http_response_status(response, &status));
    OK(modelserve_http_response_free(response));
    return status;
}

static void http(void)
{
    static const char *const no_name[1] = {NULL}, *const a_value[1] = {"x"};
    static const char predict[] = "{\"instances\": [[5.9, 3.0, 5.1, 1.8]]}";
    static const uint8_t *const body = (const uint8_t *)predict;
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris), gone = {12345};
    modelserve_http_options options;
    modelserve_http plain, small, none = {0}, no_http = {54321};
    modelserve_http_response response;
    modelserve_request request;

    OK(modelserve_http_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.management == 0);
    OK(modelserve_manager_http(manager, NULL, &plain));
    options.max_body_bytes = 8;
    options.default_model = "iris";
    OK(modelserve_manager_http(manager, &options, &small));
    options.max_depth = 257;
    STATUS(INVALID_ARGUMENT, modelserve_manager_http(manager, &options, &none));
    options.max_depth = 0;
    options.cors = 2;
    STATUS(INVALID_ARGUMENT, modelserve_manager_http(manager, &options, &none));
    IS_NULL(modelserve_http_options_init(NULL, 0));
    IS_NULL(modelserve_manager_http(manager, NULL, NULL));
    IS_INVALID(modelserve_manager_http(gone, NULL, &none));

    CHECK(status_of(plain, "POST", "/v1/models/iris:predict", predict) == 200);
    CHECK(status_of(small, "POST", "/v1/models/iris:predict", predict) == 413);
    CHECK(status_of(small, "GET", "/health", "") == 200);
    CHECK(status_of(plain, "GET", "/nothing", "") == 404);

    /* It keeps the models of a manager whose handle is gone. */
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    OK(modelserve_http_submit(plain, "POST", "/v1/models/iris:predict", NULL, NULL, 0, body,
                              sizeof predict - 1, on_response, &responses, &request));
    wait_for(&responses, 1);
    CHECK(last_status == 200);
    OK(modelserve_request_cancel(request));
    OK(modelserve_request_free(request));
    OK(modelserve_http_submit(plain, "GET", "/nothing", NULL, NULL, 0, NULL, 0, on_response,
                              &responses, NULL));
    wait_for(&responses, 2);
    CHECK(last_status == 404);

    IS_NULL(modelserve_http_handle(plain, NULL, "/", NULL, NULL, 0, NULL, 0, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", NULL, NULL, NULL, 0, NULL, 0, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", "/", NULL, a_value, 1, NULL, 0, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", "/", no_name, a_value, 1, NULL, 0, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", "/", a_value, NULL, 1, NULL, 0, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", "/", NULL, NULL, 0, NULL, 3, &response));
    IS_NULL(modelserve_http_handle(plain, "GET", "/", NULL, NULL, 0, NULL, 0, NULL));
    IS_INVALID(modelserve_http_handle(no_http, "GET", "/", NULL, NULL, 0, NULL, 0, &response));
    IS_NULL(modelserve_http_submit(plain, NULL, "/", NULL, NULL, 0, NULL, 0, on_response, NULL,
                                   NULL));
    IS_NULL(modelserve_http_submit(plain, "GET", NULL, NULL, NULL, 0, NULL, 0, on_response, NULL,
                                   NULL));
    IS_NULL(modelserve_http_submit(plain, "GET", "/", NULL, NULL, 0, NULL, 3, on_response, NULL,
                                   NULL));
    IS_NULL(modelserve_http_submit(plain, "GET", "/", NULL, NULL, 0, NULL, 0, NULL, NULL, NULL));
    IS_INVALID(modelserve_http_submit(no_http, "GET", "/", NULL, NULL, 0, NULL, 0, on_response,
                                      NULL, NULL));
    OK(modelserve_http_free(small));
    OK(modelserve_http_free(plain));
    IS_INVALID(modelserve_http_free(plain));
    OK(modelserve_http_free(none));
}

static void copied(const char *from, const char *to)
{
    size_t len;
    void *bytes = read_file(from, &len);
    FILE *file = fopen(to, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
    free(bytes);
}

static void repository(void)
{
    char root[] = "/tmp/modelserve-XXXXXX", path[128];
    modelserve_repository_options options;
    modelserve_manager manager, gone = {12345};
    modelserve_model iris;

    CHECK(mkdtemp(root) != NULL);
    snprintf(path, sizeof path, "%s/iris", root);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/iris/1", root);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/iris/1/model.onnx", root);
    copied(v1, path);

    OK(modelserve_repository_options_init(&options, sizeof options));
    options.settle_ns = 1;
    OK(modelserve_manager_new(1, &manager));
    STATUS(NOT_FOUND, modelserve_manager_load_from_repository(manager, "iris"));
    OK(modelserve_manager_serve_repository(manager, root, &options));
    OK(modelserve_manager_model(manager, "iris", &iris));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_unload(manager, "iris"));
    OK(modelserve_manager_refresh(manager));
    STATUS(NOT_FOUND, modelserve_manager_model(manager, "iris", &iris));
    OK(modelserve_manager_load_from_repository(manager, "iris"));
    OK(modelserve_manager_repository_report(manager, buf, sizeof buf, &needed));
    CHECK(strstr(buf, "\"model\":\"iris\"") != NULL);
    OK(modelserve_manager_model(manager, "iris", &iris));
    OK(modelserve_model_free(iris));
    STATUS(NOT_FOUND, modelserve_manager_load_from_repository(manager, "none"));
    STATUS(INVALID_ARGUMENT, modelserve_manager_load_from_repository(manager, "../x"));
    IS_NULL(modelserve_manager_load_from_repository(manager, NULL));
    IS_INVALID(modelserve_manager_load_from_repository(gone, "iris"));
    OK(modelserve_manager_free(manager));

    CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/iris/1", root);
    CHECK(rmdir(path) == 0);
    snprintf(path, sizeof path, "%s/iris", root);
    CHECK(rmdir(path) == 0 && rmdir(root) == 0);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    leases();
    signature();
    classes();
    submits();
    http();
    repository();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
