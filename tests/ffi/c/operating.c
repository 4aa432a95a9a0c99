/*
 * What an operator asks of a manager and of its models: versions from bytes, golden requests for
 * the gate, batching, what was dropped, figures, columns. Arguments: two versions of the iris
 * model that disagree on the first row.
 */
#include "waiting.h"

static char buf[1 << 18];
static size_t needed;

static int has(const char *part)
{
    return strstr(buf, part) != NULL;
}

static void version_from_bytes(void)
{
    modelserve_model iris;
    modelserve_manager manager, gone = {12345};
    modelserve_request_options with;
    modelserve_prediction p;
    uint64_t version = 0;
    size_t len;
    void *bytes = read_file(v2, &len);

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_load_version_bytes(manager, "iris", bytes, len, NULL, &version));
    CHECK(version == 2);
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == one[0] && p.model_version == 1);
    OK(modelserve_request_options_init(&with, sizeof with));
    with.version = 2;
    OK(modelserve_predict_with(iris, rows[0], 4, &with, &p, NULL));
    CHECK(p.label == two[0] && p.model_version == 2);
    CHECK(modelserve_manager_load_version_bytes(manager, "iris", bytes, 9, NULL, &version) != 0);
    STATUS(NOT_FOUND,
           modelserve_manager_load_version_bytes(manager, "none", bytes, len, NULL, &version));
    CHECK(version == 2);
    IS_NULL(modelserve_manager_load_version_bytes(manager, NULL, bytes, len, NULL, &version));
    IS_NULL(modelserve_manager_load_version_bytes(manager, "iris", NULL, len, NULL, &version));
    IS_NULL(modelserve_manager_load_version_bytes(manager, "iris", bytes, len, NULL, NULL));
    IS_INVALID(modelserve_manager_load_version_bytes(gone, "iris", bytes, len, NULL, &version));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    free(bytes);
}

/* A golden request for the first row, answered as `label`. */
static const char *golden(char text[128], int64_t label)
{
    snprintf(text, 128, "{\"row\": [5.9, 3.0, 5.1, 1.8], \"prediction\": %d}\n", (int)label);
    return text;
}

static void golden_requests(void)
{
    modelserve_model iris;
    modelserve_manager manager;
    modelserve_reload_options reload;
    modelserve_gate_options gate;
    modelserve_prediction p;
    uint64_t version = 0;
    size_t len;
    void *bytes = read_file(v2, &len);
    char text[128];
    int i;

    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_reload_options_init(&reload, sizeof reload));
    OK(modelserve_gate_options_init(&gate, sizeof gate));
    CHECK(gate.golden == NULL && gate.golden_len == 0 && gate.tolerance == 0.0);
    reload.gate = &gate;
    gate.golden = golden(text, one[0]);
    gate.golden_len = strlen(text);
    STATUS(INVALID_MODEL, modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    modelserve_last_error(buf, sizeof buf);
    CHECK(has("line 1"));
    OK(modelserve_manager_gate_report(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"accepted\":false") && has("\"golden\":1") && has("\"golden_failed\":1"));
    CHECK(has("\"worst\":null"));
    STATUS(INVALID_MODEL,
           modelserve_manager_reload_bytes(manager, "iris", bytes, len, &reload, &version));
    STATUS(INVALID_MODEL, modelserve_manager_load_version(manager, "iris", v2, &reload, &version));
    STATUS(INVALID_MODEL, modelserve_manager_load_version_bytes(manager, "iris", bytes, len,
                                                                &reload, &version));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == one[0] && version == 0);

    gate.golden = "{\"row\": [5.9, 3.0, 5.1, 1.8]}\n\n{\"raw\": [1]}";
    gate.golden_len = strlen(gate.golden);
    STATUS(INVALID_INPUT, modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    modelserve_last_error(buf, sizeof buf);
    CHECK(has("golden") && has("line 3") && has("raw"));
    /* The length counts, not a NUL. */
    gate.golden_len = 30;
    OK(modelserve_manager_load_version(manager, "iris", v2, &reload, &version));
    CHECK(version > 1);
    gate.golden = golden(text, two[0]);
    gate.golden_len = strlen(text);
    for (i = 0; i < 20; i++) {
        OK(modelserve_predict(iris, rows[0], 4, &p));
    }
    OK(modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    OK(modelserve_manager_gate_report(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"accepted\":true") && has("\"golden\":1") && has("\"golden_failed\":0"));
    /* The row on which the versions differ most, with its request and both answers. */
    CHECK(has("\"worst\":{\"candidate\":{\"answer\":") && has("\"serving\":{\"answer\":"));
    CHECK(has("\"request\":{\"data\":[5.9") && has("\"dims\":[1,4]") && has("\"row\":0"));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    CHECK(p.label == two[0] && p.model_version == version);
    gate.golden = NULL;
    IS_NULL(modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    gate.golden_len = 0;
    gate.tolerance = -1.0;
    STATUS(INVALID_ARGUMENT, modelserve_manager_reload(manager, "iris", v2, &reload, &version));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    free(bytes);
}

static void batching(void)
{
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris), gone = {12345};

    OK(modelserve_manager_batching(manager, "iris", 0, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "null") == 0);
    OK(modelserve_manager_configure(manager, "iris", "[batching]\nmax_batch_size = 1"));
    OK(modelserve_manager_batching(manager, "iris", 0, buf, sizeof buf, &needed));
    CHECK(has("\"found\":\"not_needed\"") && has("\"reason\":null") && has("\"worst\":null"));
    OK(modelserve_manager_configure(manager, "iris", "[batching]\nmax_batch_size = 16"));
    OK(modelserve_manager_batching(manager, "iris", 2, buf, sizeof buf, &needed));
    CHECK(has("\"found\":\"bit_equal\"") && has("\"text\":\"the same bits"));
    STATUS(NOT_FOUND, modelserve_manager_batching(manager, "iris", 9, buf, sizeof buf, &needed));
    STATUS(NOT_FOUND, modelserve_manager_batching(manager, "none", 0, buf, sizeof buf, &needed));
    STATUS(BUFFER_TOO_SMALL, modelserve_manager_batching(manager, "iris", 0, buf, 9, &needed));
    IS_NULL(modelserve_manager_batching(manager, NULL, 0, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_batching(manager, "iris", 0, NULL, 9, &needed));
    IS_NULL(modelserve_manager_batching(manager, "iris", 0, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_manager_batching(gone, "iris", 0, buf, sizeof buf, &needed));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static int entered_events, events_gone, entered_log, doors_open;

static void add_one(void *count)
{
    add(count);
}

/* Holds its thread until the doors open. */
static void hold(int *entered)
{
    add(entered);
    wait_for(&doors_open, 1);
}

static void slow_event(void *data, const modelserve_event *event)
{
    CHECK(data == (void *)&events_gone && event->version != 0);
    hold(&entered_events);
}

static void slow_log(void *data, const modelserve_log_record *record)
{
    (void)data;
    CHECK(record->message[0] != '\0');
    hold(&entered_log);
}

static void dropped(void)
{
    /* More than either queue holds. */
    enum { MOVES = 5000 };
    modelserve_model iris;
    modelserve_manager manager = two_versions(&iris), gone = {12345};
    uint64_t events = 7;
    int i;

    OK(modelserve_manager_events_dropped(manager, &events));
    CHECK(events == 0);
    OK(modelserve_log_set(slow_log, NULL, NULL, MODELSERVE_LOG_INFO));
    CHECK(modelserve_log_dropped() == 0);
    OK(modelserve_manager_on_event(manager, slow_event, &events_gone, add_one));
    OK(modelserve_manager_set_label(manager, "iris", "stable", 1));
    wait_for(&entered_events, 1);
    wait_for(&entered_log, 1);
    for (i = 0; i < MOVES; i++) {
        OK(modelserve_manager_set_label(manager, "iris", "stable", (uint64_t)(1 + i % 2)));
    }
    OK(modelserve_manager_events_dropped(manager, &events));
    CHECK(events > 0 && events < MOVES);
    CHECK(modelserve_log_dropped() > 0 && modelserve_log_dropped() < MOVES);
    add(&doors_open);
    OK(modelserve_log_flush((uint64_t)HANG_SECONDS * 1000000000));
    OK(modelserve_log_set(NULL, NULL, NULL, MODELSERVE_LOG_ERROR));
    CHECK(modelserve_log_dropped() == 0);
    IS_NULL(modelserve_manager_events_dropped(manager, NULL));
    IS_INVALID(modelserve_manager_events_dropped(gone, &events));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    wait_for(&events_gone, 1);
}

static void figures(void)
{
    modelserve_model iris, other, pinned, alone;
    modelserve_manager manager, older, gone = {12345};
    modelserve_manager_options with;
    modelserve_prediction p;
    modelserve_model none = {54321};
    uint64_t first = 0, second = 0, version;
    int32_t is;

    OK(modelserve_manager_options_init(&with, sizeof with));
    CHECK(with.max_series == 0);
    with.max_series = 1;
    with.keep_versions = 2;
    OK(modelserve_manager_new_with(&with, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, &iris));
    OK(modelserve_manager_load(manager, "second", v1, NULL, &other));
    OK(modelserve_predict(other, rows[0], 4, &p));
    OK(modelserve_manager_metrics_as(manager, MODELSERVE_METRICS_PROMETHEUS, buf, sizeof buf,
                                     &needed));
    CHECK(has("model=\"other\"") && !has("# EOF"));
    OK(modelserve_manager_metrics_as(manager, MODELSERVE_METRICS_OPENMETRICS, buf, sizeof buf,
                                     &needed));
    CHECK(has("# EOF"));
    STATUS(INVALID_ARGUMENT,
           modelserve_manager_metrics_as(manager, 2, buf, sizeof buf, &needed));
    IS_NULL(modelserve_manager_metrics_as(manager, 0, NULL, 9, &needed));
    IS_NULL(modelserve_manager_metrics_as(manager, 0, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_manager_metrics_as(gone, 0, buf, sizeof buf, &needed));

    /* A program of an older header knows no such option: what lies there is not looked at. */
    with.struct_size = offsetof(modelserve_manager_options, max_series);
    OK(modelserve_manager_new_with(&with, &older));
    OK(modelserve_manager_load(older, "iris", v1, NULL, &alone));
    OK(modelserve_model_free(alone));
    OK(modelserve_manager_load(older, "second", v1, NULL, &alone));
    OK(modelserve_model_free(alone));
    OK(modelserve_manager_metrics_as(older, 0, buf, sizeof buf, &needed));
    CHECK(has("model=\"second\"") && !has("model=\"other\""));
    OK(modelserve_manager_free(older));

    OK(modelserve_manager_uptime(manager, &first));
    OK(modelserve_manager_uptime(manager, &second));
    CHECK(first > 0 && second >= first);
    IS_NULL(modelserve_manager_uptime(manager, NULL));
    IS_INVALID(modelserve_manager_uptime(gone, &first));

    OK(modelserve_model_load(v1, NULL, &alone));
    OK(modelserve_model_name(iris, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "iris") == 0 && needed == 4);
    OK(modelserve_model_name(alone, buf, sizeof buf, &needed));
    CHECK(buf[0] == '\0' && needed == 0);
    OK(modelserve_model_is_pinned(iris, &is));
    CHECK(is == 0);
    OK(modelserve_model_is_pinned(alone, &is));
    CHECK(is == 1);

    OK(modelserve_predict(iris, rows[0], 4, &p));
    OK(modelserve_model_pin(iris, &pinned));
    OK(modelserve_model_is_pinned(pinned, &is));
    CHECK(is == 1);
    OK(modelserve_manager_reload(manager, "iris", v2, NULL, &version));
    OK(modelserve_model_stats(iris, buf, sizeof buf, &needed));
    CHECK(has("\"version\":1") && has("\"version\":2") && has("\"name\":\"iris\""));
    OK(modelserve_model_stats(pinned, buf, sizeof buf, &needed));
    CHECK(has("\"version\":1") && !has("\"version\":2") && has("\"requests\":1"));
    STATUS(UNSUPPORTED, modelserve_model_stats(alone, buf, sizeof buf, &needed));
    IS_NULL(modelserve_model_name(iris, NULL, 9, &needed));
    IS_NULL(modelserve_model_name(iris, buf, sizeof buf, NULL));
    IS_NULL(modelserve_model_is_pinned(iris, NULL));
    IS_NULL(modelserve_model_stats(iris, NULL, 9, &needed));
    IS_NULL(modelserve_model_stats(iris, buf, sizeof buf, NULL));
    IS_INVALID(modelserve_model_name(none, buf, sizeof buf, &needed));
    IS_INVALID(modelserve_model_is_pinned(none, &is));
    IS_INVALID(modelserve_model_stats(none, buf, sizeof buf, &needed));
    OK(modelserve_model_free(alone));
    OK(modelserve_model_free(pinned));
    OK(modelserve_model_free(other));
    OK(modelserve_manager_unload(manager, "iris"));
    OK(modelserve_model_name(iris, buf, sizeof buf, &needed));
    CHECK(strcmp(buf, "iris") == 0);
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
}

static void columns(void)
{
    static const char *const names[4] = {"sl", "sw", "pl", "pw"};
    static const double wide[3] = {5.9, 5.4, 5.0};
    static const int64_t dims[1] = {3};
    static const ptrdiff_t apart[1] = {sizeof rows[0]};
    modelserve_load_options load;
    modelserve_model iris, none = {54321};
    modelserve_tensor column[4] = {{0}};
    modelserve_batch batch;
    modelserve_receipt receipt;
    int64_t labels[3];
    double scores[9], want[9];
    int i;

    OK(modelserve_load_options_init(&load, sizeof load));
    load.feature_names = names;
    load.n_feature_names = 4;
    OK(modelserve_model_load(v1, &load, &iris));
    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, labels, 3, want, 9, &batch));
    /* In another order than the model's; one of them of doubles, the others of floats apart. */
    for (i = 0; i < 4; i++) {
        column[i].name = names[3 - i];
        column[i].data = &rows[0][3 - i];
        column[i].dims = dims;
        column[i].strides = apart;
        column[i].rank = 1;
        column[i].dtype = MODELSERVE_DTYPE_FLOAT32;
    }
    column[3].data = wide;
    column[3].strides = NULL;
    column[3].dtype = MODELSERVE_DTYPE_FLOAT64;
    memset(labels, 0x55, sizeof labels);
    OK(modelserve_predict_columns(iris, column, 4, NULL, labels, 3, scores, 9, &batch, &receipt));
    CHECK(memcmp(labels, one, sizeof one) == 0 && memcmp(scores, want, sizeof want) == 0);
    CHECK(batch.n_labels == 1 && batch.n_scores == 3 && receipt.version == 1);
    OK(modelserve_predict_columns(iris, column, 4, NULL, NULL, 0, NULL, 0, &batch, NULL));
    STATUS(BUFFER_TOO_SMALL, modelserve_predict_columns(iris, column, 4, NULL, labels, 2, NULL, 0,
                                                        &batch, NULL));
    STATUS(INVALID_INPUT, modelserve_predict_columns(iris, column, 3, NULL, NULL, 0, NULL, 0,
                                                     &batch, NULL));
    column[0].name = "colour";
    STATUS(INVALID_INPUT, modelserve_predict_columns(iris, column, 4, NULL, NULL, 0, NULL, 0,
                                                     &batch, NULL));
    column[0].name = NULL;
    IS_NULL(modelserve_predict_columns(iris, column, 4, NULL, NULL, 0, NULL, 0, &batch, NULL));
    IS_NULL(modelserve_predict_columns(iris, NULL, 4, NULL, NULL, 0, NULL, 0, &batch, NULL));
    IS_NULL(modelserve_predict_columns(iris, column, 0, NULL, NULL, 3, NULL, 0, &batch, NULL));
    IS_NULL(modelserve_predict_columns(iris, column, 0, NULL, NULL, 0, NULL, 9, &batch, NULL));
    IS_NULL(modelserve_predict_columns(iris, column, 0, NULL, NULL, 0, NULL, 0, NULL, NULL));
    column[0].name = names[3];
    IS_INVALID(modelserve_predict_columns(none, column, 4, NULL, NULL, 0, NULL, 0, &batch, NULL));
    OK(modelserve_model_free(iris));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    version_from_bytes();
    golden_requests();
    batching();
    dropped();
    figures();
    columns();
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
