/*
 * Rows of doubles: what they answer, what is refused, and that nothing is left over. Arguments: the
 * iris model, one with text labels, one of LightGBM, whose rows are doubles.
 */
#include "check.h"

#include <math.h>

static const double wide[3][4] = {
    {5.9f, 3.0f, 5.1f, 1.8f}, {5.4f, 3.0f, 4.5f, 1.5f}, {5.0f, 3.5f, 1.3f, 0.3f}};

/* Doubles that are floats answer as the floats do, in every way to ask. */
static void as_floats(modelserve_model model)
{
    modelserve_prediction one, same;
    modelserve_batch batch, again;
    modelserve_request_options with;
    modelserve_receipt receipt;
    int64_t labels[3], wide_labels[3];
    double scores[9], wide_scores[9], row[3];
    char gap[3][40];
    size_t i;

    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, labels, 3, scores, 9, &batch));
    OK(modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, wide_labels, 3, wide_scores, 9, &again));
    CHECK(memcmp(labels, wide_labels, sizeof labels) == 0);
    CHECK(memcmp(scores, wide_scores, sizeof scores) == 0);
    CHECK(again.n_labels == 1 && again.n_scores == 3 && again.answer == batch.answer);
    CHECK(again.scores_kind == batch.scores_kind && again.model_version == batch.model_version);
    for (i = 0; i < 3; i++) {
        OK(modelserve_predict(model, rows[i], 4, &one));
        OK(modelserve_predict_f64(model, wide[i], 4, &same));
        CHECK(one.label == same.label && one.label == labels[i] && one.n_scores == 3);
        CHECK(one.class_index == same.class_index && one.probability == same.probability);
        CHECK(strcmp(one.label_text, same.label_text) == 0 && same.answer == one.answer);
        OK(modelserve_predict_scores_f64(model, wide[i], 4, row, 3, &same));
        CHECK(memcmp(row, scores + 3 * i, sizeof row) == 0);
        CHECK(row[same.class_index] == same.probability);
    }

    /* Backwards, and with gaps that leave no double aligned. */
    OK(modelserve_predict_batch_f64(model, wide[2], 3, 4, -32, wide_labels, 3, NULL, 0, &batch));
    CHECK(wide_labels[0] == labels[2] && wide_labels[2] == labels[0]);
    for (i = 0; i < 3; i++) {
        memcpy(gap[i] + 1, wide[i], sizeof wide[i]);
    }
    OK(modelserve_predict_batch_f64(model, (const double *)(const void *)(gap[0] + 1), 3, 4, 40,
                                    wide_labels, 3, wide_scores, 9, &batch));
    CHECK(memcmp(labels, wide_labels, sizeof labels) == 0);
    CHECK(memcmp(scores, wide_scores, sizeof scores) == 0);

    OK(modelserve_request_options_init(&with, sizeof with));
    OK(modelserve_predict_with_f64(model, wide[0], 4, &with, &same, &receipt));
    CHECK(same.label == labels[0] && receipt.batch_rows == 1 && receipt.version != 0);
    OK(modelserve_predict_with_f64(model, wide[0], 4, NULL, &same, NULL));
    OK(modelserve_predict_batch_with_f64(model, wide[0], 3, 4, 0, &with, wide_labels, 3, wide_scores,
                                         9, &batch, &receipt));
    CHECK(memcmp(scores, wide_scores, sizeof scores) == 0 && receipt.batch_rows == 3);
    with.priority = 1000;
    STATUS(INVALID_ARGUMENT,
           modelserve_predict_with_f64(model, wide[0], 4, &with, &same, &receipt));
    with.priority = 0;
    with.version = 99;
    STATUS(NOT_FOUND, modelserve_predict_batch_with_f64(model, wide[0], 3, 4, 0, &with, NULL, 0, NULL,
                                                        0, &batch, NULL));
}

static void refusals(modelserve_model model)
{
    const modelserve_model none = {0};
    modelserve_prediction one;
    modelserve_batch batch;
    int64_t labels[4] = {7, 7, 7, 7};
    double scores[10] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7};

    STATUS(INVALID_INPUT, modelserve_predict_f64(model, wide[0], 3, &one));
    STATUS(INVALID_INPUT, modelserve_predict_scores_f64(model, wide[0], 5, scores, 9, &one));
    STATUS(INVALID_INPUT,
           modelserve_predict_batch_f64(model, wide[0], 2, 6, 0, labels, 3, scores, 9, &batch));
    STATUS(INVALID_ARGUMENT,
           modelserve_predict_batch_f64(model, wide[0], SIZE_MAX / 2, 4, 0, NULL, 0, NULL, 0, &batch));
    STATUS(BUFFER_TOO_SMALL, modelserve_predict_scores_f64(model, wide[0], 4, scores, 2, &one));
    STATUS(BUFFER_TOO_SMALL,
           modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, labels, 2, scores, 9, &batch));
    STATUS(BUFFER_TOO_SMALL,
           modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, labels, 3, scores, 8, &batch));
    CHECK(labels[0] == 7 && scores[0] == 7);
    /* More room than there are answers: the rest stays as it is. */
    OK(modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, labels, 4, scores, 10, &batch));
    CHECK(labels[0] != 7 && labels[3] == 7 && scores[8] != 7 && scores[9] == 7);
    OK(modelserve_predict_batch_f64(model, NULL, 0, 4, 0, labels, 3, scores, 9, &batch));

    IS_NULL(modelserve_predict_f64(model, NULL, 4, &one));
    IS_NULL(modelserve_predict_f64(model, wide[0], 4, NULL));
    IS_NULL(modelserve_predict_scores_f64(model, NULL, 4, scores, 9, &one));
    IS_NULL(modelserve_predict_scores_f64(model, wide[0], 4, NULL, 9, &one));
    IS_NULL(modelserve_predict_scores_f64(model, wide[0], 4, scores, 9, NULL));
    IS_NULL(modelserve_predict_batch_f64(model, NULL, 3, 4, 0, labels, 3, scores, 9, &batch));
    IS_NULL(modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, NULL, 3, scores, 9, &batch));
    IS_NULL(modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, labels, 3, NULL, 9, &batch));
    IS_NULL(modelserve_predict_batch_f64(model, wide[0], 3, 4, 0, labels, 3, scores, 9, NULL));
    IS_NULL(modelserve_predict_with_f64(model, NULL, 4, NULL, &one, NULL));
    IS_NULL(modelserve_predict_with_f64(model, wide[0], 4, NULL, NULL, NULL));
    IS_NULL(modelserve_predict_batch_with_f64(model, NULL, 3, 4, 0, NULL, labels, 3, scores, 9,
                                              &batch, NULL));
    IS_NULL(modelserve_predict_batch_with_f64(model, wide[0], 3, 4, 0, NULL, labels, 3, scores, 9,
                                              NULL, NULL));
    IS_INVALID(modelserve_predict_f64(none, wide[0], 4, &one));
    IS_INVALID(modelserve_predict_scores_f64(none, wide[0], 4, scores, 9, &one));
    IS_INVALID(
        modelserve_predict_batch_f64(none, wide[0], 3, 4, 0, labels, 3, scores, 9, &batch));
    IS_INVALID(modelserve_predict_with_f64(none, wide[0], 4, NULL, &one, NULL));
    IS_INVALID(modelserve_predict_batch_with_f64(none, wide[0], 3, 4, 0, NULL, labels, 3, scores, 9,
                                                 &batch, NULL));
}

/* A row on a threshold of the trees and its neighbour, which is the same float. */
static void exactly(modelserve_model model)
{
    double at[2][3] = {{1.0, 0.37879850765128237, -1.0}, {1.0, 0.0, -1.0}};
    double values[2];
    modelserve_prediction below, above;
    modelserve_batch batch;
    at[1][1] = nextafter(at[0][1], 1.0);
    CHECK((float)at[0][1] == (float)at[1][1]);
    OK(modelserve_predict_f64(model, at[0], 3, &below));
    OK(modelserve_predict_f64(model, at[1], 3, &above));
    CHECK(below.answer == MODELSERVE_ANSWER_VALUE && below.value != above.value);
    OK(modelserve_predict_batch_f64(model, at[0], 2, 3, 0, NULL, 0, values, 2, &batch));
    CHECK(values[0] == below.value && values[1] == above.value && batch.n_labels == 0);
}

int main(int argc, char **argv)
{
    modelserve_manager manager;
    modelserve_model alone, text, named, trees;
    if (argc != 4) {
        return 2;
    }
    OK(modelserve_manager_new(0, &manager));
    OK(modelserve_model_load(argv[1], NULL, &alone));
    OK(modelserve_model_load(argv[2], NULL, &text));
    OK(modelserve_model_load(argv[3], NULL, &trees));
    OK(modelserve_manager_load(manager, "iris", argv[1], NULL, &named));
    as_floats(alone);
    as_floats(text);
    as_floats(named);
    refusals(alone);
    refusals(named);
    exactly(trees);
    OK(modelserve_model_free(trees));
    OK(modelserve_manager_unload(manager, "iris"));
    {
        modelserve_prediction one;
        STATUS(NOT_FOUND, modelserve_predict_f64(named, wide[0], 4, &one));
    }
    OK(modelserve_model_free(named));
    OK(modelserve_model_free(text));
    OK(modelserve_model_free(alone));
    OK(modelserve_manager_free(manager));
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
