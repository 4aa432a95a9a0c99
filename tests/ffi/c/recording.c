/*
 * Recording requests, and replaying them. Arguments: two versions of the iris model that disagree
 * on the first row.
 */
#include "serving.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static char buf[1 << 16];
static size_t needed;

static int has(const char *part)
{
    return strstr(buf, part) != NULL;
}

static char folder[] = "/tmp/modelserve-XXXXXX";
static char path[3][64];

static void recording(void)
{
    static const int64_t dims[2] = {3, 4};
    modelserve_model iris, pinned;
    modelserve_manager manager = two_versions(&iris);
    modelserve_record_options with;
    modelserve_recording is;
    modelserve_tensor input = {0};
    modelserve_outputs outputs;
    modelserve_prediction p;
    modelserve_batch batch;
    struct stat file;
    int i;

    OK(modelserve_record_options_init(&with, sizeof with));
    CHECK(with.struct_size == sizeof with && with.sample == 0.01);
    CHECK(with.max_bytes == 0 && with.max_pending == 0 && with.max_pending_bytes == 0);
    memset(&is, 0x55, sizeof is);
    OK(modelserve_manager_recording(manager, "iris", &is));
    CHECK(is.recorded == 0 && is.written == 0 && is.ended == 0 && is.message[0] == '\0');
    with.sample = 1.5;
    STATUS(INVALID_ARGUMENT, modelserve_manager_record(manager, "iris", path[0], &with));
    with.sample = NAN;
    STATUS(INVALID_ARGUMENT, modelserve_manager_record(manager, "iris", path[0], &with));
    with.sample = 1.0;
    STATUS(NOT_FOUND, modelserve_manager_record(manager, "none", path[0], &with));
    STATUS(NOT_FOUND, modelserve_manager_record(manager, "iris", "/no/such/folder/x", &with));
    OK(modelserve_manager_record(manager, "iris", path[0], &with));
    CHECK(stat(path[0], &file) == 0 && (file.st_mode & 0777) == 0600);
    STATUS(ALREADY_EXISTS, modelserve_manager_record(manager, "iris", path[1], &with));

    /* Requests of every kind, a refused one too; a pinned handle's is not recorded. */
    for (i = 0; i < 6; i++) {
        OK(modelserve_predict(iris, rows[i % 3], 4, &p));
    }
    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, NULL, 0, NULL, 0, &batch));
    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    OK(modelserve_run(iris, &input, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_free(outputs));
    OK(modelserve_model_pin(iris, &pinned));
    OK(modelserve_predict(pinned, rows[0], 4, &p));
    OK(modelserve_model_free(pinned));
    STATUS(INVALID_INPUT, modelserve_predict(iris, rows[0], 3, &p));
    OK(modelserve_manager_recording(manager, "iris", &is));
    CHECK(is.recorded == 1 && is.ended == 0 && is.written <= 9);
    OK(modelserve_manager_stop_recording(manager, "iris", &is));
    CHECK(is.recorded == 1 && is.written == 9 && is.dropped == 0 && is.ended == 0);
    CHECK(stat(path[0], &file) == 0 && (uint64_t)file.st_size == is.bytes);
    OK(modelserve_manager_stop_recording(manager, "iris", &is));
    CHECK(is.recorded == 0 && is.written == 0);
    OK(modelserve_manager_stop_recording(manager, "iris", NULL));
    STATUS(ALREADY_EXISTS, modelserve_manager_record(manager, "iris", path[0], &with));

    /* A recording that is full ends by itself, and fails nobody. */
    with.max_bytes = 40;
    OK(modelserve_manager_record(manager, "iris", path[1], &with));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    OK(modelserve_manager_stop_recording(manager, "iris", &is));
    CHECK(is.recorded == 1 && is.written == 0 && is.bytes <= 40);
    CHECK(is.ended == MODELSERVE_STATUS_LIMIT_EXCEEDED && strstr(is.message, "full") != NULL);

    /* Nothing is recorded of a share of none. */
    OK(modelserve_record_options_init(&with, sizeof with));
    with.sample = 0.0;
    OK(modelserve_manager_record(manager, "iris", path[2], &with));
    OK(modelserve_predict(iris, rows[0], 4, &p));
    OK(modelserve_manager_stop_recording(manager, "iris", &is));
    CHECK(is.recorded == 1 && is.written == 0 && is.dropped == 0);

    with.struct_size = 8;
    STATUS(INVALID_ARGUMENT, modelserve_manager_record(manager, "iris", path[2], &with));
    IS_NULL(modelserve_record_options_init(NULL, 0));
    IS_NULL(modelserve_manager_record(manager, NULL, path[2], NULL));
    IS_NULL(modelserve_manager_record(manager, "iris", NULL, NULL));
    IS_NULL(modelserve_manager_recording(manager, NULL, &is));
    IS_NULL(modelserve_manager_recording(manager, "iris", NULL));
    STATUS(NOT_FOUND, modelserve_manager_recording(manager, "none", &is));
    IS_NULL(modelserve_manager_stop_recording(manager, NULL, &is));
    STATUS(NOT_FOUND, modelserve_manager_stop_recording(manager, "none", &is));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    IS_INVALID(modelserve_manager_record(manager, "iris", path[2], NULL));
    IS_INVALID(modelserve_manager_recording(manager, "iris", &is));
    IS_INVALID(modelserve_manager_stop_recording(manager, "iris", &is));
}

static void replaying(void)
{
    modelserve_model iris, alone;
    modelserve_manager manager = two_versions(&iris);
    modelserve_replay_options with;
    modelserve_replay_report report, same;

    OK(modelserve_replay_options_init(&with, sizeof with));
    CHECK(with.struct_size == sizeof with && with.tolerance == 1e-5);
    memset(&report, 0x55, sizeof report);
    OK(modelserve_manager_replay(manager, "iris", 0, path[0], NULL, &report));
    CHECK(report.requests == 9 && report.disagreements == 0 && report.failures == 0);
    CHECK(report.malformed == 0 && report.truncated == 0 && report.max_difference == 0.0);
    CHECK(report.worst_line == 0 && report.worst_entry[0] == '\0' && report.reserved == 0);
    CHECK(report.before.max_ns >= report.before.p50_ns && report.before.max_ns > 0);
    CHECK(report.now.p99_ns >= report.now.p90_ns && report.now.max_ns > 0);
    OK(modelserve_replay_report_json(&report, buf, sizeof buf, &needed));
    CHECK(needed == strlen(buf) && has("\"requests\":9") && has("\"worst\":null"));
    CHECK(has("\"truncated\":false") && has("\"p99_ns\""));

    /* The second version answers the first row otherwise. */
    OK(modelserve_manager_replay(manager, "iris", 2, path[0], &with, &report));
    CHECK(report.requests == 9 && report.disagreements >= 4 && report.failures == 0);
    CHECK(isinf(report.max_difference) && report.worst_line >= 2);
    CHECK(report.worst_entry[0] != '\0' && report.worst_before[0] != '\0');
    CHECK(strcmp(report.worst_before, report.worst_now) != 0);
    OK(modelserve_replay_report_json(&report, buf, sizeof buf, &needed));
    CHECK(has(report.worst_entry) && has("\"max_difference\":null"));
    STATUS(BUFFER_TOO_SMALL, modelserve_replay_report_json(&report, buf, 9, &needed));

    with.max_requests = 2;
    OK(modelserve_manager_replay(manager, "iris", 0, path[0], &with, &report));
    CHECK(report.requests == 2);
    with.max_requests = 0;
    with.max_line_bytes = 100;
    OK(modelserve_manager_replay(manager, "iris", 0, path[0], &with, &report));
    CHECK(report.requests < 9 && report.malformed == 9 - report.requests);
    with.max_line_bytes = 0;
    with.recorded_as = "another";
    OK(modelserve_manager_replay(manager, "iris", 0, path[0], &with, &report));
    CHECK(report.requests == 0 && report.before.max_ns == 0);
    with.recorded_as = "iris";

    /* By a model handle: without a manager, or as traffic of the name. */
    OK(modelserve_model_load(v1, NULL, &alone));
    OK(modelserve_model_replay(alone, path[0], &with, &same));
    CHECK(same.requests == 9 && same.disagreements == 0);
    OK(modelserve_manager_stats(manager, "iris", buf, sizeof buf, &needed));
    CHECK(has("\"requests\":0,\"rows\":0,\"serving\":true"));
    OK(modelserve_model_replay(iris, path[0], NULL, &same));
    CHECK(same.requests == 9 && same.disagreements == 0);
    OK(modelserve_manager_stats(manager, "iris", buf, sizeof buf, &needed));
    CHECK(!has("\"requests\":0,\"rows\":0,\"serving\":true"));

    with.tolerance = -1.0;
    STATUS(INVALID_ARGUMENT, modelserve_model_replay(alone, path[0], &with, &same));
    with.tolerance = NAN;
    STATUS(INVALID_ARGUMENT, modelserve_model_replay(alone, path[0], &with, &same));
    with.struct_size = 8;
    STATUS(INVALID_ARGUMENT, modelserve_model_replay(alone, path[0], &with, &same));
    STATUS(INVALID_ARGUMENT, modelserve_model_replay(alone, v1, NULL, &same));
    STATUS(NOT_FOUND, modelserve_model_replay(alone, "/no/such/file", NULL, &same));
    STATUS(NOT_FOUND, modelserve_manager_replay(manager, "iris", 9, path[0], NULL, &same));
    STATUS(NOT_FOUND, modelserve_manager_replay(manager, "none", 0, path[0], NULL, &same));
    CHECK(same.requests == 9);
    IS_NULL(modelserve_replay_options_init(NULL, 0));
    IS_NULL(modelserve_manager_replay(manager, NULL, 0, path[0], NULL, &same));
    IS_NULL(modelserve_manager_replay(manager, "iris", 0, NULL, NULL, &same));
    IS_NULL(modelserve_manager_replay(manager, "iris", 0, path[0], NULL, NULL));
    IS_NULL(modelserve_model_replay(alone, NULL, NULL, &same));
    IS_NULL(modelserve_model_replay(alone, path[0], NULL, NULL));
    IS_NULL(modelserve_replay_report_json(NULL, buf, sizeof buf, &needed));
    IS_NULL(modelserve_replay_report_json(&same, NULL, 9, &needed));
    IS_NULL(modelserve_replay_report_json(&same, buf, sizeof buf, NULL));
    OK(modelserve_model_free(alone));
    OK(modelserve_model_free(iris));
    OK(modelserve_manager_free(manager));
    IS_INVALID(modelserve_model_replay(alone, path[0], NULL, &same));
    IS_INVALID(modelserve_manager_replay(manager, "iris", 0, path[0], NULL, &same));
}

int main(int argc, char **argv)
{
    int i;
    if (argc != 3) {
        return 2;
    }
    learn_answers(argv);
    CHECK(mkdtemp(folder) != NULL);
    for (i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/%d.jsonl", folder, i);
    }
    recording();
    replaying();
    for (i = 0; i < 3; i++) {
        CHECK(unlink(path[i]) == 0);
    }
    CHECK(rmdir(folder) == 0);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
