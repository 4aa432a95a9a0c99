/*
 * What the programs of the serving layer share. Their arguments: two versions of the iris model
 * that disagree on the first row.
 */
#ifndef SERVING_H
#define SERVING_H

#include "check.h"

/* How long to wait for what has to come: far beyond what it takes. */
#define HANG_SECONDS 300

static const char *v1;
static const char *v2;
/* The answers of the two versions for the three rows. */
static int64_t one[3], two[3];

/* A manager that serves "iris" with version 1 and has version 2 beside it. */
static inline modelserve_manager two_versions(modelserve_model *iris)
{
    modelserve_manager manager;
    uint64_t version;
    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", v1, NULL, iris));
    OK(modelserve_manager_load_version(manager, "iris", v2, NULL, &version));
    CHECK(version == 2);
    return manager;
}

static inline void learn_answers(char **argv)
{
    modelserve_model model;
    modelserve_batch batch;
    v1 = argv[1];
    v2 = argv[2];
    OK(modelserve_model_load(v1, NULL, &model));
    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, one, 3, NULL, 0, &batch));
    OK(modelserve_model_free(model));
    OK(modelserve_model_load(v2, NULL, &model));
    OK(modelserve_predict_batch(model, rows[0], 3, 4, 0, two, 3, NULL, 0, &batch));
    OK(modelserve_model_free(model));
    CHECK(one[0] != two[0]);
}

#endif
