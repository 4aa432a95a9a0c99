/*
 * Why a booster answers as it does. Arguments: a model of LightGBM and one of XGBoost with three
 * features and squared error, a linear one of XGBoost, and an ONNX model.
 */
#include "check.h"

#include <math.h>

static const float floats[3][3] = {
    {0.5f, -1.25f, 0.75f}, {-2.0f, 0.875f, -1.5f}, {1.0f, -0.25f, -0.5f}};
static double doubles[3][3];

static modelserve_model load(const char *path)
{
    modelserve_load_options options;
    modelserve_model model;
    OK(modelserve_load_options_init(&options, sizeof options));
    options.explain = 1;
    OK(modelserve_model_load(path, &options, &model));
    return model;
}

/* Contributions and base are the margin, which these models answer. */
static void adds_up(modelserve_model model)
{
    modelserve_explanation told, sizes;
    modelserve_batch batch;
    double values[12], same[12], answers[3], margin;
    size_t i, j;

    OK(modelserve_explain_f64(model, NULL, 3, 3, 0, NULL, 0, &sizes));
    CHECK(sizes.n_targets == 1 && sizes.n_features == 3 && sizes.model_version != 0);
    OK(modelserve_explain_f64(model, doubles[0], 3, 3, 0, values, 12, &told));
    CHECK(told.n_targets == 1 && told.n_features == 3);
    CHECK(told.model_version == sizes.model_version);
    OK(modelserve_predict_batch_f64(model, doubles[0], 3, 3, 0, NULL, 0, answers, 3, &batch));
    for (i = 0; i < 3; i++) {
        margin = 0;
        for (j = 0; j < 4; j++) {
            margin += values[4 * i + j];
        }
        CHECK(fabs(margin - answers[i]) < 1e-6);
        CHECK(values[4 * i + 3] == values[3]);
    }
    CHECK(memcmp(values, values + 4, 3 * sizeof *values) != 0);
    OK(modelserve_explain(model, floats[0], 3, 3, 0, same, 12, &told));
    CHECK(memcmp(values, same, sizeof same) == 0);
    OK(modelserve_explain(model, floats[2], 3, 3, -12, same, 12, &told));
    CHECK(memcmp(values, same + 8, 4 * sizeof *same) == 0);
    OK(modelserve_explain_f64(model, doubles[1], 1, 3, 0, same, 4, &told));
    CHECK(memcmp(values + 4, same, 4 * sizeof *same) == 0);

    same[0] = 7;
    STATUS(BUFFER_TOO_SMALL, modelserve_explain_f64(model, doubles[0], 3, 3, 0, same, 11, &told));
    STATUS(INVALID_INPUT, modelserve_explain_f64(model, doubles[0], 3, 2, 0, same, 12, &told));
    STATUS(INVALID_INPUT, modelserve_explain_f64(model, NULL, 3, 2, 0, NULL, 0, &told));
    STATUS(BUFFER_TOO_SMALL,
           modelserve_explain(model, floats[0], SIZE_MAX / 2, 3, 0, same, 12, &told));
    IS_NULL(modelserve_explain(model, NULL, 3, 3, 0, same, 12, &told));
    IS_NULL(modelserve_explain(model, floats[0], 3, 3, 0, NULL, 12, &told));
    IS_NULL(modelserve_explain(model, floats[0], 3, 3, 0, same, 12, NULL));
    IS_NULL(modelserve_explain_f64(model, NULL, 3, 3, 0, same, 12, &told));
    IS_NULL(modelserve_explain_f64(model, doubles[0], 3, 3, 0, NULL, 12, &told));
    IS_NULL(modelserve_explain_f64(model, doubles[0], 3, 3, 0, same, 12, NULL));
    CHECK(same[0] == 7);
}

static void leaves_and_importance(modelserve_model model)
{
    uint32_t leaves[64], again[64];
    double splits[3], gain[3], total[3];
    size_t trees, features, i;
    int32_t kind;

    OK(modelserve_apply(model, NULL, 3, 3, 0, NULL, 0, &trees));
    CHECK(trees >= 2 && 3 * trees <= 64);
    OK(modelserve_apply(model, floats[0], 3, 3, 0, leaves, 3 * trees, &trees));
    OK(modelserve_apply_f64(model, doubles[0], 3, 3, 0, again, 64, &trees));
    CHECK(memcmp(leaves, again, 3 * trees * sizeof *leaves) == 0);
    CHECK(memcmp(leaves, leaves + trees, trees * sizeof *leaves) != 0);
    OK(modelserve_apply_f64(model, doubles[2], 1, 3, 0, again, trees, &trees));
    CHECK(memcmp(leaves + 2 * trees, again, trees * sizeof *leaves) == 0);
    STATUS(BUFFER_TOO_SMALL,
           modelserve_apply(model, floats[0], 3, 3, 0, leaves, 3 * trees - 1, &trees));
    STATUS(INVALID_INPUT, modelserve_apply(model, floats[0], 3, 4, 0, leaves, 64, &trees));
    IS_NULL(modelserve_apply(model, NULL, 3, 3, 0, leaves, 64, &trees));
    IS_NULL(modelserve_apply(model, floats[0], 3, 3, 0, NULL, 64, &trees));
    IS_NULL(modelserve_apply(model, floats[0], 3, 3, 0, leaves, 64, NULL));
    IS_NULL(modelserve_apply_f64(model, NULL, 3, 3, 0, leaves, 64, &trees));
    IS_NULL(modelserve_apply_f64(model, doubles[0], 3, 3, 0, NULL, 64, &trees));
    IS_NULL(modelserve_apply_f64(model, doubles[0], 3, 3, 0, leaves, 64, NULL));

    for (kind = 1; kind <= 5; kind++) {
        OK(modelserve_importance(model, kind, NULL, 0, &features));
        CHECK(features == 3);
    }
    OK(modelserve_importance(model, MODELSERVE_IMPORTANCE_SPLITS, splits, 3, &features));
    OK(modelserve_importance(model, MODELSERVE_IMPORTANCE_GAIN, gain, 3, &features));
    OK(modelserve_importance(model, MODELSERVE_IMPORTANCE_TOTAL_GAIN, total, 3, &features));
    CHECK(splits[0] + splits[1] + splits[2] > 0);
    for (i = 0; i < 3; i++) {
        CHECK(fabs(splits[i] * gain[i] - total[i]) <= 1e-9 * total[i]);
    }
    STATUS(BUFFER_TOO_SMALL,
           modelserve_importance(model, MODELSERVE_IMPORTANCE_COVER, splits, 2, &features));
    STATUS(INVALID_ARGUMENT, modelserve_importance(model, 0, splits, 3, &features));
    STATUS(INVALID_ARGUMENT, modelserve_importance(model, 6, splits, 3, &features));
    IS_NULL(modelserve_importance(model, MODELSERVE_IMPORTANCE_GAIN, NULL, 3, &features));
    IS_NULL(modelserve_importance(model, MODELSERVE_IMPORTANCE_GAIN, gain, 3, NULL));
}

/* Models that cannot be explained, and handles that are none. */
static void refusals(const char *booster, const char *linear, const char *onnx)
{
    modelserve_model models[2], of_lines;
    modelserve_explanation told;
    modelserve_manager manager;
    double values[12];
    uint32_t leaves[12];
    size_t count, i;

    OK(modelserve_model_load(booster, NULL, &models[0]));
    models[1] = load(onnx);
    for (i = 0; i < 2; i++) {
        STATUS(UNSUPPORTED,
               modelserve_explain_f64(models[i], doubles[0], 3, 3, 0, values, 12, &told));
        STATUS(UNSUPPORTED, modelserve_apply_f64(models[i], doubles[0], 3, 3, 0, leaves, 12, &count));
        STATUS(UNSUPPORTED, modelserve_importance(models[i], MODELSERVE_IMPORTANCE_GAIN, values, 12,
                                                  &count));
        OK(modelserve_model_free(models[i]));
        IS_INVALID(modelserve_explain(models[i], floats[0], 3, 3, 0, values, 12, &told));
        IS_INVALID(modelserve_explain_f64(models[i], doubles[0], 3, 3, 0, values, 12, &told));
        IS_INVALID(modelserve_apply(models[i], floats[0], 3, 3, 0, leaves, 12, &count));
        IS_INVALID(modelserve_apply_f64(models[i], doubles[0], 3, 3, 0, leaves, 12, &count));
        IS_INVALID(modelserve_importance(models[i], MODELSERVE_IMPORTANCE_GAIN, values, 12, &count));
    }
    OK(modelserve_manager_new(0, &manager));
    models[0].id = manager.id;
    IS_INVALID(modelserve_explain(models[0], floats[0], 3, 3, 0, values, 12, &told));
    OK(modelserve_manager_free(manager));

    of_lines = load(linear);
    adds_up(of_lines);
    STATUS(UNSUPPORTED, modelserve_apply(of_lines, floats[0], 3, 3, 0, leaves, 12, &count));
    STATUS(UNSUPPORTED,
           modelserve_importance(of_lines, MODELSERVE_IMPORTANCE_GAIN, values, 12, &count));
    OK(modelserve_model_free(of_lines));
}

/* A name is explained by the version that serves. */
static void named(const char *first, const char *second)
{
    modelserve_load_options options;
    modelserve_reload_options reload;
    modelserve_manager manager;
    modelserve_model model, pinned;
    modelserve_explanation told;
    double values[12], before[12];
    uint64_t version;

    OK(modelserve_load_options_init(&options, sizeof options));
    OK(modelserve_reload_options_init(&reload, sizeof reload));
    options.explain = 1;
    reload.load = &options;
    reload.allow_signature_change = 1;
    OK(modelserve_manager_new(0, &manager));
    OK(modelserve_manager_load(manager, "boosted", first, &options, &model));
    adds_up(model);
    leaves_and_importance(model);
    OK(modelserve_explain_f64(model, doubles[0], 3, 3, 0, before, 12, &told));
    OK(modelserve_model_pin(model, &pinned));
    OK(modelserve_manager_reload(manager, "boosted", second, &reload, &version));
    adds_up(model);
    OK(modelserve_explain_f64(model, doubles[0], 3, 3, 0, values, 12, &told));
    CHECK(told.model_version == version && memcmp(before, values, sizeof values) != 0);
    OK(modelserve_manager_unload(manager, "boosted"));
    STATUS(NOT_FOUND, modelserve_explain_f64(model, doubles[0], 3, 3, 0, values, 12, &told));
    OK(modelserve_explain_f64(pinned, doubles[0], 3, 3, 0, values, 12, &told));
    CHECK(told.model_version != version && memcmp(before, values, sizeof values) == 0);
    OK(modelserve_model_free(pinned));
    OK(modelserve_model_free(model));
    OK(modelserve_manager_free(manager));
}

int main(int argc, char **argv)
{
    modelserve_model model;
    int i, j;
    if (argc != 5) {
        return 2;
    }
    for (i = 0; i < 3; i++) {
        for (j = 0; j < 3; j++) {
            doubles[i][j] = floats[i][j];
        }
    }
    for (i = 1; i <= 2; i++) {
        model = load(argv[i]);
        adds_up(model);
        leaves_and_importance(model);
        OK(modelserve_model_free(model));
    }
    refusals(argv[1], argv[3], argv[4]);
    named(argv[1], argv[2]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
