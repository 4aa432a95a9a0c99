/*
 * One row through modelserve.h and through onnxruntime's C interface, in turns.
 *
 *     one_row_c LIBONNXRUNTIME ROUNDS KEY OUR_MODEL ONNX_MODEL ROWS WIDTH
 *
 * Prints one JSON object. ROWS is a file of float32, row after row. Answers are compared first.
 */
#include "ort_table.h"
#include <dlfcn.h>
#include <math.h>
#include <modelserve.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 64 /* the rows that calls go through in turn */
#define MOST_OUTPUTS 4
#define MOST_SCORES 64
#define SLICE_NS 1e6
#define SINGLES 300
#define WINDOW_NS 200000000L
#define CALLERS 8
#define TOLERANCE 1e-4

static float *rows;
static size_t width;
static modelserve_model ours;

static const ort_function *api;
static void *session, *memory;
static char *input_name, *output_names[MOST_OUTPUTS];
static size_t n_outputs;

/* One caller of onnxruntime: an input and outputs that are made once. */
struct bound {
    float *row;
    void *input, *outputs[MOST_OUTPUTS];
};

typedef void (*call)(void *state, size_t index);

static void fail(const char *what, const char *message)
{
    fprintf(stderr, "%s: %s\n", what, message);
    exit(1);
}

static void check_ort(ort_status status, const char *what)
{
    if (status != NULL)
        fail(what, ((ort_message)api[ORT_GetErrorMessage])(status));
}

static void check(modelserve_status status, const char *what)
{
    char message[512];
    if (status != MODELSERVE_STATUS_OK) {
        modelserve_last_error(message, sizeof message);
        fail(what, message);
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define ORT(type, name) ((type)api[ORT_##name])

static void open_onnxruntime(const char *library, const char *model)
{
    void *env, *options, *allocator;
    const struct ort_base *(*base)(void);
    void *found = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    size_t i;

    if (found == NULL)
        fail("onnxruntime", dlerror());
    *(void **)&base = dlsym(found, "OrtGetApiBase");
    api = base()->get_api(ORT_API_VERSION);
    if (api == NULL)
        fail("onnxruntime", "older than 1.17");
    check_ort(ORT(ort_create_env, CreateEnv)(ORT_LOG_ERROR, "peers", &env), "env");
    check_ort(ORT(ort_create_options, CreateSessionOptions)(&options), "options");
    check_ort(ORT(ort_set_int, SetIntraOpNumThreads)(options, 1), "threads");
    check_ort(ORT(ort_set_int, SetInterOpNumThreads)(options, 1), "threads");
    check_ort(ORT(ort_set_int, SetSessionGraphOptimizationLevel)(options, ORT_ENABLE_ALL), "level");
    check_ort(ORT(ort_create_session, CreateSession)(env, model, options, &session), "session");
    check_ort(ORT(ort_create_memory, CreateCpuMemoryInfo)(ORT_DEVICE_ALLOCATOR, ORT_MEMORY_DEFAULT,
                                                          &memory),
              "memory");
    check_ort(ORT(ort_get_allocator, GetAllocatorWithDefaultOptions)(&allocator), "allocator");
    check_ort(ORT(ort_get_name, SessionGetInputName)(session, 0, allocator, &input_name), "name");
    check_ort(ORT(ort_get_count, SessionGetOutputCount)(session, &n_outputs), "outputs");
    if (n_outputs > MOST_OUTPUTS)
        fail("outputs", "too many");
    for (i = 0; i < n_outputs; i++)
        check_ort(ORT(ort_get_name, SessionGetOutputName)(session, i, allocator, &output_names[i]),
                  "name");
}

static void bind_row(struct bound *bound)
{
    int64_t shape[2] = {1, (int64_t)width};
    memset(bound, 0, sizeof *bound);
    bound->row = calloc(width, sizeof(float));
    if (bound->row == NULL)
        fail("row", "no memory");
    check_ort(ORT(ort_create_tensor, CreateTensorWithDataAsOrtValue)(
                  memory, bound->row, width * sizeof(float), shape, 2, ORT_FLOAT, &bound->input),
              "tensor");
}

/* The first run allocates the outputs, and the later ones write into them. */
static void ask_onnxruntime(void *state, size_t index)
{
    struct bound *bound = state;
    memcpy(bound->row, rows + (index % ROWS) * width, width * sizeof(float));
    check_ort(ORT(ort_run, Run)(session, NULL, (const char *const *)&input_name, &bound->input, 1,
                                (const char *const *)output_names, n_outputs, bound->outputs),
              "run");
}

static void ask_ours(void *state, size_t index)
{
    modelserve_prediction prediction;
    (void)state;
    check(modelserve_predict(ours, rows + (index % ROWS) * width, width, &prediction), "predict");
}

static void agree(struct bound *bound)
{
    size_t i, k, count;
    for (i = 0; i < ROWS; i++) {
        modelserve_prediction prediction;
        double scores[MOST_SCORES];
        void *info, *data;
        ask_onnxruntime(bound, i);
        check_ort(ORT(ort_get_shape, GetTensorTypeAndShape)(bound->outputs[n_outputs - 1], &info),
                  "shape");
        check_ort(ORT(ort_get_elements, GetTensorShapeElementCount)(info, &count), "elements");
        ORT(ort_release, ReleaseTensorTypeAndShapeInfo)(info);
        check_ort(ORT(ort_get_data, GetTensorMutableData)(bound->outputs[n_outputs - 1], &data),
                  "data");
        check(modelserve_predict_scores(ours, rows + i * width, width, scores, MOST_SCORES,
                                        &prediction),
              "predict");
        /* One may give both classes' probabilities where the other gives the second one's. */
        for (k = 1; k <= count && k <= prediction.n_scores; k++) {
            double b = ((const float *)data)[count - k];
            double off = fabs(scores[prediction.n_scores - k] - b);
            if (!(off <= TOLERANCE * fmax(1.0, fabs(b))))
                fail("agree", "modelserve and onnxruntime answer differently");
        }
    }
}

/* ns a call: the mean of each round, and single calls with the clock's own time in them. */
struct times {
    double *rounds, *singles;
    size_t n_rounds, n_singles;
};

static size_t calls_of_a_slice(call ask, void *state)
{
    double start = now_ns();
    size_t made = 0;
    while (now_ns() - start < 20 * SLICE_NS)
        ask(state, made++);
    return made / 20 > 0 ? made / 20 : 1;
}

static void one_round(struct times *times, size_t count, call ask, void *state)
{
    double start = now_ns();
    size_t i;
    for (i = 0; i < count; i++)
        ask(state, i);
    times->rounds[times->n_rounds++] = (now_ns() - start) / (double)count;
    for (i = 0; i < SINGLES && i < count; i++) {
        start = now_ns();
        ask(state, i);
        times->singles[times->n_singles++] = now_ns() - start;
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double p99(struct times *times)
{
    qsort(times->singles, times->n_singles, sizeof(double), ascending);
    return times->singles[times->n_singles * 99 / 100];
}

static atomic_int stop;
static pthread_barrier_t gate;

struct caller {
    int onnxruntime;
    double rate;
};

static void *run_caller(void *argument)
{
    struct caller *caller = argument;
    struct bound bound;
    size_t made = 0;
    double start;
    bind_row(&bound);
    pthread_barrier_wait(&gate);
    start = now_ns();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        if (caller->onnxruntime)
            ask_onnxruntime(&bound, made);
        else
            ask_ours(NULL, made);
        made++;
    }
    caller->rate = (double)made / (now_ns() - start) * 1e9;
    return NULL;
}

/* Calls a second of `n` callers together. */
static double rate(int n, int onnxruntime)
{
    pthread_t threads[CALLERS];
    struct caller callers[CALLERS];
    struct timespec window = {0, WINDOW_NS};
    double sum = 0;
    int i;
    atomic_store(&stop, 0);
    pthread_barrier_init(&gate, NULL, (unsigned)n + 1);
    for (i = 0; i < n; i++) {
        callers[i].onnxruntime = onnxruntime;
        if (pthread_create(&threads[i], NULL, run_caller, &callers[i]) != 0)
            fail("thread", "cannot be started");
    }
    pthread_barrier_wait(&gate);
    nanosleep(&window, NULL);
    atomic_store(&stop, 1);
    for (i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        sum += callers[i].rate;
    }
    pthread_barrier_destroy(&gate);
    return sum;
}

static void print_list(const char *name, const double *values, size_t count, const char *after)
{
    size_t i;
    printf("\"%s\": [", name);
    for (i = 0; i < count; i++)
        printf("%s%.1f", i > 0 ? ", " : "", values[i]);
    printf("]%s", after);
}

static void *array(size_t count)
{
    void *made = calloc(count, sizeof(double));
    if (made == NULL)
        fail("figures", "no memory");
    return made;
}

int main(int argc, char **argv)
{
    modelserve_load_options options;
    struct times times[2];
    struct bound bound;
    size_t rounds, windows, counts[2], i, k;
    double *rates[4];
    FILE *file;

    if (argc != 8) {
        fprintf(stderr, "usage: %s LIBONNXRUNTIME ROUNDS KEY OUR_MODEL ONNX_MODEL ROWS WIDTH\n",
                argv[0]);
        return 2;
    }
    rounds = strtoul(argv[2], NULL, 10);
    width = strtoul(argv[7], NULL, 10);
    rows = array(ROWS * width);
    file = fopen(argv[6], "rb");
    if (file == NULL || fread(rows, sizeof(float), ROWS * width, file) != ROWS * width)
        fail(argv[6], "not the rows");
    fclose(file);
    modelserve_load_options_init(&options, sizeof options);
    options.threads = 1;
    check(modelserve_model_load(argv[4], &options, &ours), "load");
    open_onnxruntime(argv[1], argv[5]);
    bind_row(&bound);
    agree(&bound);

    for (k = 0; k < 2; k++) {
        memset(&times[k], 0, sizeof times[k]);
        times[k].rounds = array(rounds);
        times[k].singles = array(rounds * SINGLES);
        counts[k] = calls_of_a_slice(k ? ask_onnxruntime : ask_ours, &bound);
    }
    for (i = 0; i < rounds; i++)
        for (k = 0; k < 2; k++) {
            size_t who = (i + k) % 2;
            one_round(&times[who], counts[who], who ? ask_onnxruntime : ask_ours, &bound);
        }
    windows = (rounds + 2) / 3;
    for (k = 0; k < 4; k++)
        rates[k] = array(windows);
    for (i = 0; i < windows; i++)
        for (k = 0; k < 4; k++)
            rates[k][i] = rate(k % 2 ? CALLERS : 1, k / 2);

    printf("{\"row_ns\": {");
    print_list("modelserve", times[0].rounds, rounds, ", ");
    print_list("onnxruntime", times[1].rounds, rounds, "}, ");
    printf("\"p99_ns\": {\"modelserve\": %.1f, \"onnxruntime\": %.1f}, ", p99(&times[0]),
           p99(&times[1]));
    printf("\"rate\": {\"modelserve\": {");
    print_list("1", rates[0], windows, ", ");
    print_list("8", rates[1], windows, "}, \"onnxruntime\": {");
    print_list("1", rates[2], windows, ", ");
    print_list("8", rates[3], windows, "}}}\n");
    return 0;
}
