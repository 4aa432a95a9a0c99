/*
 * Eight threads do at random what can be done with handles they share: make them, use them, free
 * them, free them again, use them after that. Every call answers, and every answer is right.
 *
 *     handles VERSION_1 VERSION_2 [OPERATIONS [SEED]]
 */
#include "waiting.h"

#include <stdint.h>

#define THREADS 8
#define PLACES 16

/* The kinds of handles, and a place for each of some; any thread may take or change any. */
enum { MANAGER, MODEL, OUTPUTS, PREPARED, HTTP, RESPONSE, REQUEST, KINDS };
static uint64_t places[KINDS][PLACES];
static pthread_mutex_t places_mutex = PTHREAD_MUTEX_INITIALIZER;

static size_t operations = 100000;
static int submitted, answered;

struct thread {
    pthread_t id;
    uint64_t state;
    size_t done, refused;
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(struct thread *thread, size_t bound)
{
    return (size_t)(next(&thread->state) % bound);
}

/* A handle of the kind: mostly one of the places, whether live or freed; sometimes one of another
 * kind, or a number that was never given out. */
static uint64_t any(struct thread *thread, int kind)
{
    uint64_t id;
    switch (below(thread, 64)) {
    case 0: return next(&thread->state) >> below(thread, 64);
    case 1: kind = (int)below(thread, KINDS); break;
    default: break;
    }
    CHECK(pthread_mutex_lock(&places_mutex) == 0);
    id = places[kind][below(thread, PLACES)];
    CHECK(pthread_mutex_unlock(&places_mutex) == 0);
    return id;
}

static modelserve_status release(int kind, uint64_t id)
{
    modelserve_manager manager;
    modelserve_model model;
    modelserve_outputs outputs;
    modelserve_prepared prepared;
    modelserve_http http;
    modelserve_http_response response;
    modelserve_request request;
    switch (kind) {
    case MANAGER: return manager.id = id, modelserve_manager_free(manager);
    case MODEL: return model.id = id, modelserve_model_free(model);
    case OUTPUTS: return outputs.id = id, modelserve_outputs_free(outputs);
    case PREPARED: return prepared.id = id, modelserve_prepared_free(prepared);
    case HTTP: return http.id = id, modelserve_http_free(http);
    case RESPONSE: return response.id = id, modelserve_http_response_free(response);
    default: return request.id = id, modelserve_request_free(request);
    }
}

/* A call with a handle that another thread may free at any moment. */
static int went(struct thread *thread, modelserve_status status)
{
    if (status == MODELSERVE_STATUS_INVALID_HANDLE) {
        thread->refused++;
        return 0;
    }
    CHECK(status == MODELSERVE_STATUS_OK);
    return 1;
}

/* Puts a new handle in a place; what was there is freed, where nobody did before. */
static void put(struct thread *thread, int kind, uint64_t id)
{
    size_t at = below(thread, PLACES);
    uint64_t before;
    CHECK(id != 0);
    CHECK(pthread_mutex_lock(&places_mutex) == 0);
    before = places[kind][at];
    places[kind][at] = id;
    CHECK(pthread_mutex_unlock(&places_mutex) == 0);
    went(thread, release(kind, before));
}

static void on_answer(void *data, modelserve_status status, const modelserve_prediction *p,
                      const modelserve_receipt *receipt, const char *error)
{
    (void)data;
    (void)error;
    (void)receipt;
    CHECK(status == MODELSERVE_STATUS_CANCELLED ||
          (status == MODELSERVE_STATUS_OK && (p->label == one[0] || p->label == two[0])));
    add(&answered);
}

static void make_manager(struct thread *thread)
{
    modelserve_manager manager;
    modelserve_model model;
    OK(modelserve_manager_new(1, &manager));
    OK(modelserve_manager_load(manager, "iris", below(thread, 2) ? v1 : v2, NULL, &model));
    put(thread, MODEL, model.id);
    put(thread, MANAGER, manager.id);
}

static void look_up(struct thread *thread)
{
    modelserve_manager manager;
    modelserve_model model;
    manager.id = any(thread, MANAGER);
    if (went(thread, modelserve_manager_model(manager, "iris", &model)))
        put(thread, MODEL, model.id);
}

static void pin(struct thread *thread)
{
    modelserve_model model, pinned;
    model.id = any(thread, MODEL);
    if (went(thread, modelserve_model_pin(model, &pinned)))
        put(thread, MODEL, pinned.id);
}

static void reload(struct thread *thread)
{
    modelserve_manager manager;
    uint64_t version;
    manager.id = any(thread, MANAGER);
    went(thread, modelserve_manager_reload(manager, "iris", below(thread, 2) ? v1 : v2, NULL,
                                           &version));
}

static void predict(struct thread *thread)
{
    modelserve_model model;
    modelserve_prediction p;
    model.id = any(thread, MODEL);
    if (went(thread, modelserve_predict(model, rows[0], 4, &p)))
        CHECK(p.label == one[0] || p.label == two[0]);
}

static void submit(struct thread *thread)
{
    modelserve_model model;
    modelserve_request request;
    model.id = any(thread, MODEL);
    if (went(thread, modelserve_predict_submit(model, rows[0], 4, NULL, on_answer, NULL,
                                               &request))) {
        add(&submitted);
        put(thread, REQUEST, request.id);
    }
}

static void cancel(struct thread *thread)
{
    modelserve_request request;
    request.id = any(thread, REQUEST);
    went(thread, modelserve_request_cancel(request));
}

static void run(struct thread *thread)
{
    static const int64_t dims[2] = {3, 4};
    modelserve_model model;
    modelserve_outputs outputs;
    modelserve_tensor input;
    memset(&input, 0, sizeof input);
    input.name = "X";
    input.data = rows;
    input.dims = dims;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    model.id = any(thread, MODEL);
    if (went(thread, modelserve_run(model, &input, 1, NULL, 0, &outputs)))
        put(thread, OUTPUTS, outputs.id);
}

static void read_outputs(struct thread *thread)
{
    modelserve_outputs outputs;
    int64_t labels[3];
    size_t needed;
    outputs.id = any(thread, OUTPUTS);
    if (went(thread, modelserve_outputs_data(outputs, 0, labels, sizeof labels, &needed)))
        CHECK(memcmp(labels, one, sizeof labels) == 0 || memcmp(labels, two, sizeof labels) == 0);
}

static void prepare(struct thread *thread)
{
    modelserve_layout layout;
    modelserve_model model;
    modelserve_prepared prepared;
    OK(modelserve_layout_init(&layout, sizeof layout));
    layout.width = 4;
    layout.max_rows = 3;
    model.id = any(thread, MODEL);
    if (went(thread, modelserve_prepare(model, &layout, NULL, &prepared)))
        put(thread, PREPARED, prepared.id);
}

static void ask_prepared(struct thread *thread)
{
    modelserve_prepared prepared;
    modelserve_batch batch;
    int64_t labels[3];
    prepared.id = any(thread, PREPARED);
    if (went(thread, modelserve_prepared_predict(prepared, rows, 3, labels, 3, NULL, 0, &batch,
                                                 NULL)))
        CHECK(memcmp(labels, one, sizeof labels) == 0 || memcmp(labels, two, sizeof labels) == 0);
}

static void front(struct thread *thread)
{
    modelserve_manager manager;
    modelserve_http http;
    manager.id = any(thread, MANAGER);
    if (went(thread, modelserve_manager_http(manager, NULL, &http)))
        put(thread, HTTP, http.id);
}

static void ask_front(struct thread *thread)
{
    static const char body[] = "{\"instances\": [[5.9, 3.0, 5.1, 1.8]]}";
    modelserve_http http;
    modelserve_http_response response;
    http.id = any(thread, HTTP);
    if (went(thread, modelserve_http_handle(http, "POST", "/v1/models/iris:predict", NULL, NULL, 0,
                                            (const uint8_t *)body, sizeof body - 1, &response)))
        put(thread, RESPONSE, response.id);
}

static void read_response(struct thread *thread)
{
    modelserve_http_response response;
    int32_t status;
    response.id = any(thread, RESPONSE);
    if (went(thread, modelserve_http_response_status(response, &status)))
        CHECK(status == 200);
}

static void free_any(struct thread *thread)
{
    int kind = (int)below(thread, KINDS);
    went(thread, release(kind, any(thread, kind)));
}

/* Making a manager loads a model, and is rare for it. */
static void (*const calls[])(struct thread *) = {
    look_up, look_up, pin,     predict, predict,      predict,      submit,  cancel,    run,
    run,     run,     prepare, prepare, read_outputs, read_outputs, front,   ask_front, ask_front,
    read_response,    read_response,    ask_prepared, ask_prepared, free_any, free_any};

static void *work(void *data)
{
    struct thread *thread = data;
    for (; thread->done < operations / THREADS; thread->done++) {
        switch (below(thread, 100)) {
        case 0: make_manager(thread); break;
        case 1: reload(thread); break;
        default: calls[below(thread, sizeof calls / sizeof *calls)](thread);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct thread threads[THREADS];
    uint64_t seed = 1;
    size_t i, refused = 0;
    int kind;
    CHECK(argc >= 3);
    learn_answers(argv);
    if (argc > 3)
        operations = strtoul(argv[3], NULL, 10);
    if (argc > 4)
        seed = strtoul(argv[4], NULL, 10);
    for (i = 0; i < THREADS; i++) {
        threads[i].state = seed * THREADS + i;
        CHECK(pthread_create(&threads[i].id, NULL, work, &threads[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i].id, NULL) == 0);
        refused += threads[i].refused;
    }
    wait_for(&answered, submitted);
    CHECK(answered == submitted);
    for (kind = 0; kind < KINDS; kind++)
        for (i = 0; i < PLACES; i++)
            went(&threads[0], release(kind, places[kind][i]));
    CHECK(modelserve_live_handles() == 0);
    CHECK(refused > 0);
    printf("%zu operations on handles, %zu of freed or foreign ones, %d requests answered: ok\n",
           operations, refused, answered);
    return 0;
}
