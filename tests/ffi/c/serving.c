/*
 * The serving layer through modelserve.h: versions, labels, the gate, policies by text, receipts,
 * pins, a folder of models.
 */
#include "serving.h"

#include <math.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char buf[1 << 16];
static size_t needed;

static int has(const char *part)
{
    return strstr(buf, part) != NULL;
}

static void options(void)
{
    modelserve_manager_options with;
    modelserve_manager manager;
    modelserve_model iris;
    uint64_t version;

    OK(modelserve_manager_options_init(&with, sizeof with));
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
    OK(modelserve_manager_options_init(&with, sizeof with));
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

    OK(modelserve_request_options_init(&with, sizeof with));
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

    OK(modelserve_request_options_init(&with, sizeof with));
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
    OK(modelserve_request_options_init(&with, sizeof with));

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
    OK(modelserve_reload_options_init(&reload, sizeof reload));
    OK(modelserve_gate_options_init(&strict, sizeof strict));
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
    OK(modelserve_gate_options_init(&strict, sizeof strict));
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
    OK(modelserve_request_options_init(&with, sizeof with));
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
    OK(modelserve_request_options_init(&with, sizeof with));
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

    OK(modelserve_repository_options_init(&with, sizeof with));
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

static void http(void)
{
    static const char *const names[] = {"Content-Type", "X-Modelserve-Key"};
    static const char *const values[] = {"application/json", "user"};
    static const char body[] = "{\"features\": [5.9, 3.0, 5.1, 1.8], \"request_id\": \"r\"}";
    const uint8_t *bytes = (const uint8_t *)body;
    modelserve_http_response response, none = {0};
    modelserve_manager manager;
    modelserve_model iris;
    char name[64];
    int32_t status;
    size_t count, i, found = 0;

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_http_handle(manager, "POST", "/predict", NULL, NULL, 0, bytes,
                                      sizeof body - 1, &response));
    OK(modelserve_http_response_status(response, &status));
    CHECK(status == 503);
    OK(modelserve_http_response_free(response));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_http_handle(manager, "POST", "/predict", names, values, 2, bytes,
                                      sizeof body - 1, &response));
    OK(modelserve_http_response_status(response, &status));
    CHECK(status == 200);
    OK(modelserve_http_response_header_count(response, &count));
    for (i = 0; i < count; i++) {
        OK(modelserve_http_response_header_name(response, i, name, sizeof name, &needed));
        OK(modelserve_http_response_header_value(response, i, buf, sizeof buf, &needed));
        found += strcmp(name, "x-modelserve-version") == 0 && strcmp(buf, "1") == 0;
        found += strcmp(name, "Content-Type") == 0 && strcmp(buf, "application/json") == 0;
    }
    CHECK(found == 2);
    STATUS(NOT_FOUND, modelserve_http_response_header_name(response, count, name, 64, &needed));
    STATUS(NOT_FOUND, modelserve_http_response_header_value(response, count, buf, 64, &needed));
    OK(modelserve_http_response_body(response, NULL, 0, &count));
    CHECK(count > 0 && count < sizeof buf);
    STATUS(BUFFER_TOO_SMALL, modelserve_http_response_body(response, (uint8_t *)buf, 1, &needed));
    OK(modelserve_http_response_body(response, (uint8_t *)buf, sizeof buf - 1, &needed));
    CHECK(needed == count);
    buf[needed] = '\0';
    CHECK(has("\"prediction\"") && has("\"request_id\":\"r\"") && has("\"model_version\":\"1\""));
    OK(modelserve_http_response_free(response));
    STATUS(INVALID_HANDLE, modelserve_http_response_free(response));
    STATUS(INVALID_HANDLE, modelserve_http_response_status(response, &status));
    OK(modelserve_http_response_free(none));
    /* Whatever the request is, there is a response. */
    OK(modelserve_manager_http_handle(manager, "", "", NULL, NULL, 0, NULL, 0, &response));
    OK(modelserve_http_response_status(response, &status));
    CHECK(status == 404);
    OK(modelserve_http_response_free(response));
    STATUS(NULL_ARGUMENT, modelserve_manager_http_handle(manager, NULL, "/", NULL, NULL, 0, NULL,
                                                         0, &response));
    STATUS(NULL_ARGUMENT, modelserve_manager_http_handle(manager, "GET", "/", NULL, values, 1,
                                                         NULL, 0, &response));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    options();
    versions();
    request_options();
    gate();
    policies();
    pins();
    folder();
    http();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
