/*
 * Once warm, predicting into the caller's memory allocates nothing. The allocator's functions are
 * those of this program, which count and pass on. Arguments: model files, each of which has the
 * fast path.
 */
#include "check.h"

#ifdef __GLIBC__
#include <errno.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

/* Of each thread: what others do at the same time is not this one's. */
static __thread unsigned long allocated, freed;

void *malloc(size_t size)
{
    allocated++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocated++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocated++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    allocated++;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    allocated++;
    *memory = __libc_memalign(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}

void free(void *memory)
{
    freed += memory != NULL;
    __libc_free(memory);
}

enum { CALLS = 200, ROWS = 5, MOST = 64 };

static float floats[ROWS * MOST];
static double doubles[ROWS * MOST];

struct call {
    modelserve_model model;
    size_t width;
    /* Of floats row after row, and by column; of doubles by column. */
    modelserve_prepared prepared[3];
};

static void one(const struct call *call)
{
    modelserve_prediction answer;
    OK(modelserve_predict(call->model, floats, call->width, &answer));
}

static void one_of_doubles(const struct call *call)
{
    modelserve_prediction answer;
    OK(modelserve_predict_f64(call->model, doubles, call->width, &answer));
}

static void scores(const struct call *call)
{
    modelserve_prediction answer;
    double all[MOST];
    OK(modelserve_predict_scores(call->model, floats, call->width, all, MOST, &answer));
}

static void scores_of_doubles(const struct call *call)
{
    modelserve_prediction answer;
    double all[MOST];
    OK(modelserve_predict_scores_f64(call->model, doubles, call->width, all, MOST, &answer));
}

static void batch(const struct call *call)
{
    modelserve_batch answers;
    int64_t labels[ROWS];
    double all[ROWS * MOST];
    OK(modelserve_predict_batch(call->model, floats, ROWS, call->width, 0, labels, ROWS, all,
                                ROWS * MOST, &answers));
}

static void batch_of_doubles(const struct call *call)
{
    modelserve_batch answers;
    int64_t labels[ROWS];
    double all[ROWS * MOST];
    OK(modelserve_predict_batch_f64(call->model, doubles, ROWS, call->width, 0, labels, ROWS, all,
                                    ROWS * MOST, &answers));
}

static void ask_prepared(modelserve_prepared prepared, const void *from)
{
    modelserve_batch answers;
    modelserve_receipt receipt;
    int64_t labels[ROWS];
    double all[ROWS * MOST];
    OK(modelserve_prepared_predict(prepared, from, ROWS, labels, ROWS, all, ROWS * MOST, &answers,
                                   &receipt));
}

static void prepared(const struct call *call)
{
    ask_prepared(call->prepared[0], floats);
}

static void prepared_columns(const struct call *call)
{
    ask_prepared(call->prepared[1], floats);
}

static void prepared_columns_of_doubles(const struct call *call)
{
    ask_prepared(call->prepared[2], doubles);
}

static void prepare(struct call *call)
{
    modelserve_layout layout;
    int i;
    OK(modelserve_layout_init(&layout, sizeof layout));
    layout.width = call->width;
    layout.max_rows = ROWS;
    for (i = 0; i < 3; i++) {
        if (i > 0) {
            layout.dtype = i == 1 ? MODELSERVE_DTYPE_FLOAT32 : MODELSERVE_DTYPE_FLOAT64;
            layout.row_stride = i == 1 ? sizeof(float) : sizeof(double);
            layout.feature_stride = ROWS * layout.row_stride;
        }
        OK(modelserve_prepare(call->model, &layout, NULL, &call->prepared[i]));
    }
}

/* A manager's sample of requests fills with 256 of them, and keeps taking some: enough for all that
 * it holds to be of one form. */
enum { ALL = 64 * 256 * 2, FEW = 64 };

static const struct {
    const char *name;
    void (*run)(const struct call *call);
    int before;
} ways[] = {{"predict", one, ALL},
            {"predict_f64", one_of_doubles, ALL},
            {"scores", scores, ALL},
            {"scores_f64", scores_of_doubles, ALL},
            {"batch", batch, ALL},
            /* Of the form of the last: the sample is full of them. */
            {"prepared", prepared, FEW},
            {"prepared, by column", prepared_columns, FEW},
            {"batch_f64", batch_of_doubles, ALL},
            {"prepared of doubles, by column", prepared_columns_of_doubles, FEW}};

static int counted(const char *path, const char *whose, modelserve_model model, size_t width)
{
    struct call call;
    unsigned long before, after;
    size_t way;
    int i, failed = 0;
    call.model = model;
    call.width = width;
    prepare(&call);
    for (way = 0; way < sizeof ways / sizeof *ways; way++) {
        for (i = 0; i < ways[way].before; i++) {
            ways[way].run(&call);
        }
        before = allocated + freed;
        for (i = 0; i < CALLS; i++) {
            ways[way].run(&call);
        }
        after = allocated + freed;
        if (after != before) {
            fprintf(stderr, "%s, %s: %lu calls of the allocator in %d of %s\n", path, whose,
                    after - before, CALLS, ways[way].name);
            failed = 1;
        }
    }
    for (i = 0; i < 3; i++) {
        OK(modelserve_prepared_free(call.prepared[i]));
    }
    return failed;
}

/* How many features a row has: the error of a row without any says so by being one. */
static size_t width_of(modelserve_model model)
{
    modelserve_prediction answer;
    size_t width;
    for (width = 1; width <= MOST; width++) {
        if (modelserve_predict(model, floats, width, &answer) == MODELSERVE_STATUS_OK) {
            return width;
        }
    }
    return 0;
}

static int model_file(modelserve_manager manager, const char *path)
{
    static char info[1 << 16];
    modelserve_model alone, named;
    size_t width, needed;
    int failed;
    OK(modelserve_model_load(path, NULL, &alone));
    OK(modelserve_model_info(alone, info, sizeof info, &needed));
    CHECK(strstr(info, "\"fast_path\":true") != NULL);
    width = width_of(alone);
    CHECK(width > 0);
    failed = counted(path, "alone", alone, width);
    OK(modelserve_model_free(alone));
    OK(modelserve_manager_load(manager, "served", path, NULL, &named));
    failed |= counted(path, "through a manager", named, width);
    OK(modelserve_model_free(named));
    OK(modelserve_manager_unload(manager, "served"));
    return failed;
}

int main(int argc, char **argv)
{
    modelserve_manager manager;
    unsigned long before = allocated;
    int i, failed = 0;
    void *volatile probe = malloc(1);
    free(probe);
    CHECK(allocated == before + 1 && argc > 1);
    for (i = 0; i < ROWS * MOST; i++) {
        floats[i] = (float)(i % 7) / 8;
        doubles[i] = floats[i];
    }
    /* One thread: what is allocated by handing work to others is not asked here. */
    OK(modelserve_manager_new(1, &manager));
    before = allocated;
    for (i = 1; i < argc; i++) {
        failed |= model_file(manager, argv[i]);
    }
    /* The library's allocations are counted at all. */
    CHECK(allocated > before);
    OK(modelserve_manager_free(manager));
    return failed;
}
#else
int main(void)
{
    printf("skipped: not the GNU C library\n");
    return 0;
}
#endif
