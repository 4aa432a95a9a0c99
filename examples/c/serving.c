/*
 * The serving layer: versions side by side, policies by text, receipts, submitted predictions,
 * recording and replay.
 *
 *     cc -std=c99 -D_POSIX_C_SOURCE=200809L examples/c/serving.c \
 *         $(pkg-config --cflags --libs modelserve) -lpthread -o serving
 *     ./serving tests/data/iris_v1/model.onnx tests/data/iris_v2/model.onnx
 */
#include <inttypes.h>
#include <modelserve.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void check(modelserve_status status, const char *what)
{
    if (status != MODELSERVE_STATUS_OK) {
        char message[512];
        modelserve_last_error(message, sizeof message);
        fprintf(stderr, "%s: %s (status %" PRId32 ")\n", what, message, status);
        exit(1);
    }
}

/* Answers of submitted predictions, counted by label. */
struct tally {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int labels[3];
    int answered;
};

/* Called once for each submitted prediction, on a thread of the library. */
static void on_answer(void *user_data, modelserve_status status,
                      const modelserve_prediction *prediction, const modelserve_receipt *receipt,
                      const char *error)
{
    struct tally *tally = user_data;
    (void)receipt;
    pthread_mutex_lock(&tally->mutex);
    if (status != MODELSERVE_STATUS_OK) {
        fprintf(stderr, "a prediction failed: %s\n", error);
    } else if (prediction->label >= 0 && prediction->label < 3) {
        tally->labels[prediction->label]++;
    }
    tally->answered++;
    pthread_cond_signal(&tally->changed);
    pthread_mutex_unlock(&tally->mutex);
}

int main(int argc, char **argv)
{
    static const float row[4] = {5.9f, 3.0f, 5.1f, 1.8f};
    /* The words are those of the configuration file, without [models.iris. in front. */
    static const char policies[] = "[batching]\n"
                                   "max_batch_size = 32\n"
                                   "[cache]\n"
                                   "capacity = \"8MiB\"\n"
                                   "[canary]\n"
                                   "label = \"candidate\"\n"
                                   "percent = 10\n"
                                   "[deadline]\n"
                                   "default = \"10s\"\n"
                                   "[[fallback]]\n"
                                   "constant = { label = 0 }\n";
    static struct tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0};
    modelserve_manager_options options;
    modelserve_request_options request;
    modelserve_manager manager;
    modelserve_model iris;
    modelserve_prediction one;
    modelserve_receipt receipt;
    uint64_t version;
    modelserve_record_options record;
    modelserve_recording recording;
    modelserve_replay_report report;
    char text[4096], path[64];
    size_t needed;
    int i;

    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL NEW_MODEL\n", argv[0]);
        return 2;
    }
    /* Two versions are kept, so that going back needs no loading. */
    check(modelserve_manager_options_init(&options, sizeof options), "options");
    options.keep_versions = 2;
    check(modelserve_manager_new_with(&options, &manager), "manager");
    check(modelserve_manager_load(manager, "iris", argv[1], NULL, &iris), "load");

    /* The new version stands beside the serving one, and a tenth of the requests tries it. */
    check(modelserve_manager_load_version(manager, "iris", argv[2], NULL, &version), "version");
    check(modelserve_manager_set_label(manager, "iris", "candidate", version), "label");
    check(modelserve_manager_configure(manager, "iris", policies), "configure");

    /* One request for the candidate itself, with a deadline; the receipt says who answered. */
    check(modelserve_request_options_init(&request, sizeof request), "request options");
    request.label = "candidate";
    request.timeout_ns = 5000000000u;
    check(modelserve_predict_with(iris, row, 4, &request, &one, &receipt), "predict");
    printf("candidate: label %" PRId64 ", version %" PRIu64 " of %s\n", one.label, receipt.version,
           receipt.model);

    /* A hundred requests that wait for nobody. */
    for (i = 0; i < 100; i++) {
        check(modelserve_predict_submit(iris, row, 4, NULL, on_answer, &tally, NULL), "submit");
    }
    pthread_mutex_lock(&tally.mutex);
    while (tally.answered < 100) {
        pthread_cond_wait(&tally.changed, &tally.mutex);
    }
    printf("submitted: labels %d %d %d\n", tally.labels[0], tally.labels[1], tally.labels[2]);
    pthread_mutex_unlock(&tally.mutex);
    check(modelserve_manager_cache(manager, "iris", text, sizeof text, &needed), "cache");
    printf("cache: %s\n", text);

    /* Every request is recorded for a while, and what was recorded is put to the candidate. */
    check(modelserve_record_options_init(&record, sizeof record), "record options");
    record.sample = 1.0;
    snprintf(path, sizeof path, "/tmp/modelserve-example-%ld.jsonl", (long)getpid());
    check(modelserve_manager_record(manager, "iris", path, &record), "record");
    for (i = 0; i < 20; i++) {
        check(modelserve_predict(iris, row, 4, &one), "predict");
    }
    check(modelserve_manager_stop_recording(manager, "iris", &recording), "stop recording");
    check(modelserve_manager_replay(manager, "iris", version, path, NULL, &report), "replay");
    printf("recorded %" PRIu64 ", the candidate disagrees on %" PRIu64 " (%s: %s before, %s now)\n",
           recording.written, report.disagreements, report.worst_entry, report.worst_before,
           report.worst_now);
    remove(path);

    /* The candidate serves; and one call takes it back. */
    check(modelserve_manager_serve(manager, "iris", version), "serve");
    check(modelserve_manager_rollback(manager, "iris", &version), "rollback");
    printf("version %" PRIu64 " serves\n", version);

    check(modelserve_model_free(iris), "free model");
    check(modelserve_manager_free(manager), "free manager");
    return 0;
}
