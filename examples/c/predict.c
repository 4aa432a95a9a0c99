/*
 * Load a model, predict one row and a batch, reload while serving.
 *
 *     cc -std=c99 examples/c/predict.c $(pkg-config --cflags --libs modelserve) -o predict
 *     ./predict tests/data/iris_v1/model.onnx tests/data/iris_v2/model.onnx
 */
#include <inttypes.h>
#include <modelserve.h>
#include <stdio.h>
#include <stdlib.h>

static void check(modelserve_status status, const char *what)
{
    if (status != MODELSERVE_STATUS_OK) {
        char message[512];
        modelserve_last_error(message, sizeof message);
        fprintf(stderr, "%s: %s (status %" PRId32 ")\n", what, message, status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const float rows[3][4] = {
        {5.9f, 3.0f, 5.1f, 1.8f}, {5.4f, 3.0f, 4.5f, 1.5f}, {5.0f, 3.5f, 1.3f, 0.3f}};
    modelserve_manager manager;
    modelserve_model iris;
    modelserve_prediction one;
    modelserve_batch batch;
    int64_t labels[3];
    double scores[9];
    uint64_t version;
    size_t i;

    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL NEW_MODEL\n", argv[0]);
        return 2;
    }
    check(modelserve_manager_new(0, &manager), "manager");
    check(modelserve_manager_load(manager, "iris", argv[1], NULL, &iris), "load");
    check(modelserve_predict(iris, rows[0], 4, &one), "predict");
    printf("one row: label %" PRId64 ", probability %.3f, version %" PRIu64 "\n", one.label,
           one.probability, one.model_version);

    check(modelserve_predict_batch(iris, &rows[0][0], 3, 4, 0, labels, 3, scores, 9, &batch),
          "predict_batch");
    for (i = 0; i < 3; i++) {
        printf("row %zu: label %" PRId64 ", scores %.3f %.3f %.3f\n", i, labels[i], scores[3 * i],
               scores[3 * i + 1], scores[3 * i + 2]);
    }

    /* The handle is bound to the name: after the reload the same handle asks the new version. */
    check(modelserve_manager_reload(manager, "iris", argv[2], NULL, &version), "reload");
    check(modelserve_predict(iris, rows[0], 4, &one), "predict");
    printf("reloaded: label %" PRId64 ", version %" PRIu64 "\n", one.label, one.model_version);

    check(modelserve_model_free(iris), "free model");
    check(modelserve_manager_free(manager), "free manager");
    return 0;
}
