/*
 * What the program that null_matrix.py writes is made of: a live and a freed handle of each kind,
 * places for results that show whether they were written to, and the checks of a refusal.
 */
#ifndef MATRIX_H
#define MATRIX_H

#include "waiting.h"

/* Room for any struct of the interface: the program asserts it. */
#define PLACE_SIZE 1024
/* No function has more parameters. */
#define PLACES 16
#define UNTOUCHED 0xA5
#define UNTOUCHED_WORD UINT64_C(0xA5A5A5A5A5A5A5A5)
/* The features of the model with trees. */
#define WIDTH 3

union place {
    unsigned char bytes[PLACE_SIZE];
    void *pointer;
    double number;
    uint64_t words[PLACE_SIZE / sizeof(uint64_t)];
};

/* A place for each parameter: what a refused call leaves alone. */
static union place places[PLACES];
/* What may be read as rows, bytes or a report. */
static const union place zeros;
static const int64_t dims[2] = {1, WIDTH};
static const modelserve_tensor tensor[1] = {
    {"x", zeros.bytes, dims, NULL, 2, MODELSERVE_DTYPE_FLOAT32, 0}};
static const char *const texts[1] = {"iris"};

static modelserve_manager live_manager, freed_manager;
static modelserve_model live_model, freed_model;
static modelserve_outputs live_outputs, freed_outputs;
static modelserve_request live_request, freed_request;
static modelserve_http_response live_http_response, freed_http_response;
static modelserve_prepared live_prepared, freed_prepared;
static modelserve_http live_http, freed_http;
/* Rows of that model, without gaps. */
static modelserve_layout layout;

/* Numbers that are no live handle of a kind: filled by `others_than`. */
enum { RANDOM = 24, OTHERS = 14 + RANDOM };
static uint64_t others[OTHERS];
static long calls;

static inline void others_than(uint64_t live, uint64_t freed)
{
    static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    const uint64_t all[OTHERS - RANDOM] = {freed,
                                           live ^ 1,
                                           live ^ (uint64_t)1 << 20,
                                           live ^ (uint64_t)1 << 59,
                                           live ^ (uint64_t)1 << 63,
                                           UINT64_MAX,
                                           1,
                                           live_manager.id,
                                           live_model.id,
                                           live_outputs.id,
                                           live_request.id,
                                           live_http_response.id,
                                           live_prepared.id,
                                           live_http.id};
    int i;
    for (i = 0; i < OTHERS; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        others[i] = i < OTHERS - RANDOM ? all[i] : state;
        /* One kind's own handle, and neighbours in the table, may well be live. */
        if (others[i] == live || others[i] == 0) {
            others[i] = freed;
        }
    }
}

static inline void reset(void)
{
    memset(places, UNTOUCHED, sizeof places);
    calls++;
}

static inline void nothing_written(const char *function, const char *what)
{
    size_t i, k;
    for (i = 0; i < PLACES; i++) {
        for (k = 0; k < PLACE_SIZE / sizeof(uint64_t); k++) {
            if (places[i].words[k] != UNTOUCHED_WORD) {
                fprintf(stderr, "%s wrote to result %zu although %s\n", function, i, what);
                exit(1);
            }
        }
    }
}

static inline void wrong(const char *function, const char *what, modelserve_status status)
{
    char text[512];
    modelserve_last_error(text, sizeof text);
    fprintf(stderr, "%s answers %d although %s: %s\n", function, (int)status, what, text);
    exit(1);
}

/* Refused with this status and a message, and nothing was written. */
static inline void refused(const char *function, const char *what, modelserve_status status,
                           modelserve_status expected)
{
    if (status != expected || modelserve_last_error(NULL, 0) == 0) {
        wrong(function, what, status);
    }
    nothing_written(function, what);
}

/* Refused for any reason of the caller's, and nothing was written. */
static inline void refused_somehow(const char *function, const char *what, modelserve_status status)
{
    if (status == MODELSERVE_STATUS_OK || status == MODELSERVE_STATUS_INTERNAL ||
        status == MODELSERVE_STATUS_NULL_ARGUMENT || status == MODELSERVE_STATUS_INVALID_HANDLE) {
        wrong(function, what, status);
    }
    nothing_written(function, what);
}

/* Whatever it answers: the pointer that was NULL is not the reason. */
static inline void not_for_null(const char *function, const char *what, modelserve_status status)
{
    if (status == MODELSERVE_STATUS_NULL_ARGUMENT || status == MODELSERVE_STATUS_INTERNAL) {
        wrong(function, what, status);
    }
}

static inline void on_answer(void *data, modelserve_status status,
                             const modelserve_prediction *prediction,
                             const modelserve_receipt *receipt, const char *error)
{
    (void)prediction;
    (void)receipt;
    (void)error;
    CHECK(status == MODELSERVE_STATUS_OK);
    add(data);
}

/* Two handles of each kind, of which the second is freed. */
static inline void make_handles(const char *iris, const char *trees)
{
    static const int64_t row[2] = {1, 4};
    modelserve_manager *managers[2];
    modelserve_model *models[2], named;
    modelserve_outputs *outputs[2];
    modelserve_request *requests[2];
    modelserve_http_response *responses[2];
    modelserve_prepared *prepared[2];
    modelserve_http *fronts[2];
    modelserve_tensor input = tensor[0];
    modelserve_load_options explained;
    int answered = 0, i;

    managers[0] = &live_manager, managers[1] = &freed_manager;
    models[0] = &live_model, models[1] = &freed_model;
    outputs[0] = &live_outputs, outputs[1] = &freed_outputs;
    requests[0] = &live_request, requests[1] = &freed_request;
    responses[0] = &live_http_response, responses[1] = &freed_http_response;
    fronts[0] = &live_http, fronts[1] = &freed_http;
    prepared[0] = &live_prepared, prepared[1] = &freed_prepared;
    OK(modelserve_layout_init(&layout, sizeof layout));
    layout.width = WIDTH;
    input.name = "X";
    input.dims = row;
    OK(modelserve_load_options_init(&explained, sizeof explained));
    explained.explain = 1;
    for (i = 0; i < 2; i++) {
        OK(modelserve_manager_new(1, managers[i]));
        OK(modelserve_manager_load(*managers[i], "iris", iris, NULL, &named));
        OK(modelserve_run(named, &input, 1, NULL, 0, outputs[i]));
        OK(modelserve_manager_http_handle(*managers[i], "GET", "/v2/health/ready", NULL, NULL, 0,
                                          NULL, 0, responses[i]));
        OK(modelserve_model_load(trees, &explained, models[i]));
        OK(modelserve_manager_http(*managers[i], NULL, fronts[i]));
        OK(modelserve_prepare(*models[i], &layout, NULL, prepared[i]));
        OK(modelserve_predict_submit(*models[i], (const float *)zeros.bytes, WIDTH, NULL, on_answer,
                                     &answered, requests[i]));
        OK(modelserve_model_free(named));
    }
    wait_for(&answered, 2);
    OK(modelserve_http_free(freed_http));
    OK(modelserve_prepared_free(freed_prepared));
    OK(modelserve_http_response_free(freed_http_response));
    OK(modelserve_request_free(freed_request));
    OK(modelserve_outputs_free(freed_outputs));
    OK(modelserve_model_free(freed_model));
    OK(modelserve_manager_free(freed_manager));
}

static inline void free_handles(void)
{
    OK(modelserve_http_free(live_http));
    OK(modelserve_prepared_free(live_prepared));
    OK(modelserve_http_response_free(live_http_response));
    OK(modelserve_request_free(live_request));
    OK(modelserve_outputs_free(live_outputs));
    OK(modelserve_model_free(live_model));
    OK(modelserve_manager_free(live_manager));
    CHECK(modelserve_live_handles() == 0);
}

#endif
