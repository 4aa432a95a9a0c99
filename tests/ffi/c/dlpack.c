/*
 * DLPack, in and out: types, strides, offsets, ownership, and structs that lie. Argument: the iris
 * model.
 */
#include "check.h"

static int deleted;

static void count_delete(modelserve_dl_managed_versioned *managed)
{
    (void)managed;
    deleted++;
}

static float by_column[4][3] = {
    {5.9f, 5.4f, 5.0f}, {3.0f, 3.0f, 3.5f}, {5.1f, 4.5f, 1.3f}, {1.8f, 1.5f, 0.3f}};
static int64_t shape[2] = {3, 4};
static int64_t transposed[2] = {1, 3};

/* The rows of check.h, stored by column. */
static modelserve_dl_managed_versioned given(void)
{
    modelserve_dl_managed_versioned managed;
    memset(&managed, 0, sizeof managed);
    managed.version.major = MODELSERVE_DL_MAJOR_VERSION;
    managed.version.minor = MODELSERVE_DL_MINOR_VERSION;
    managed.deleter = count_delete;
    managed.flags = MODELSERVE_DL_READ_ONLY;
    managed.dl_tensor.data = by_column;
    managed.dl_tensor.device.device_type = MODELSERVE_DL_CPU;
    managed.dl_tensor.ndim = 2;
    managed.dl_tensor.dtype.code = 2;
    managed.dl_tensor.dtype.bits = 32;
    managed.dl_tensor.dtype.lanes = 1;
    managed.dl_tensor.shape = shape;
    managed.dl_tensor.strides = transposed;
    return managed;
}

static void labels_of(modelserve_model iris, const modelserve_tensor *input, int64_t labels[3])
{
    modelserve_outputs outputs;
    size_t needed;
    OK(modelserve_run(iris, input, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_data(outputs, 0, labels, 3 * sizeof *labels, &needed));
    CHECK(needed == 3 * sizeof *labels);
    OK(modelserve_outputs_free(outputs));
}

static void in(modelserve_model iris, const int64_t want[3])
{
    modelserve_dl_managed_versioned managed = given();
    modelserve_dl_managed older;
    modelserve_tensor tensor;
    ptrdiff_t strides[32];
    int64_t labels[3];
    char room[sizeof by_column + 8];

    OK(modelserve_tensor_from_dlpack(&managed, "X", strides, 32, &tensor));
    CHECK(tensor.data == (void *)by_column && tensor.rank == 2 && tensor.dims == shape);
    CHECK(strides[0] == 4 && strides[1] == 12 && tensor.dtype == MODELSERVE_DTYPE_FLOAT32);
    labels_of(iris, &tensor, labels);
    CHECK(memcmp(labels, want, sizeof labels) == 0);

    /* An offset, to where nothing is aligned. */
    memcpy(room + 5, by_column, sizeof by_column);
    managed.dl_tensor.data = room;
    managed.dl_tensor.byte_offset = 5;
    OK(modelserve_tensor_from_dlpack(&managed, "X", strides, 2, &tensor));
    labels_of(iris, &tensor, labels);
    CHECK(memcmp(labels, want, sizeof labels) == 0);
    CHECK(deleted == 0);

    /* Rows from the last to the first, in the older struct; and without strides. */
    memset(&older, 0, sizeof older);
    older.dl_tensor = given().dl_tensor;
    older.dl_tensor.data = (void *)rows;
    older.dl_tensor.byte_offset = 2 * sizeof rows[0];
    transposed[0] = -4;
    transposed[1] = 1;
    OK(modelserve_tensor_from_dlpack_legacy(&older, "X", strides, 2, &tensor));
    labels_of(iris, &tensor, labels);
    CHECK(labels[0] == want[2] && labels[1] == want[1] && labels[2] == want[0]);
    older.dl_tensor.byte_offset = 0;
    older.dl_tensor.strides = NULL;
    OK(modelserve_tensor_from_dlpack_legacy(&older, "X", strides, 2, &tensor));
    labels_of(iris, &tensor, labels);
    CHECK(memcmp(labels, want, sizeof labels) == 0);
    transposed[0] = 1;
    transposed[1] = 3;
}

/* A struct that lies is refused, and its tensor is left as it is. */
static void hostile(void)
{
    static int64_t negative[2] = {3, -4}, huge[2] = {INT64_MAX, INT64_MAX}, none[2] = {0, 4};
    static int64_t far[2] = {INT64_MAX, 1}, low[2] = {INT64_MIN, 1};
    modelserve_dl_managed_versioned managed;
    modelserve_dl_managed older;
    modelserve_tensor tensor;
    ptrdiff_t strides[32];

    memset(&tensor, 7, sizeof tensor);
#define FROM(code, change)                                                                         \
    do {                                                                                           \
        managed = given();                                                                         \
        change;                                                                                    \
        STATUS(code, modelserve_tensor_from_dlpack(&managed, "X", strides, 32, &tensor));          \
        CHECK(tensor.rank == (size_t)0x0707070707070707 || sizeof(size_t) != 8);                   \
    } while (0)
    FROM(INVALID_INPUT, managed.dl_tensor.ndim = -1);
    FROM(INVALID_INPUT, managed.dl_tensor.ndim = INT32_MIN);
    FROM(LIMIT_EXCEEDED, managed.dl_tensor.ndim = 33);
    FROM(LIMIT_EXCEEDED, managed.dl_tensor.ndim = INT32_MAX);
    FROM(NULL_ARGUMENT, managed.dl_tensor.shape = NULL);
    FROM(INVALID_INPUT, managed.dl_tensor.data = NULL);
    FROM(INVALID_INPUT, managed.dl_tensor.shape = negative);
    FROM(LIMIT_EXCEEDED, managed.dl_tensor.shape = huge);
    FROM(INVALID_INPUT, managed.dl_tensor.strides = far);
    FROM(INVALID_INPUT, managed.dl_tensor.strides = low);
    FROM(INVALID_INPUT, managed.dl_tensor.byte_offset = UINT64_MAX);
    FROM(INVALID_INPUT, managed.dl_tensor.device.device_type = 2);
    FROM(INVALID_INPUT, managed.dl_tensor.device.device_type = -5);
    FROM(INVALID_INPUT, managed.dl_tensor.dtype.lanes = 4);
    FROM(INVALID_INPUT, managed.dl_tensor.dtype.lanes = 0);
    FROM(INVALID_INPUT, managed.dl_tensor.dtype.code = 3);
    FROM(INVALID_INPUT, managed.dl_tensor.dtype.bits = 31);
    FROM(INVALID_INPUT, (managed.dl_tensor.dtype.code = 0, managed.dl_tensor.dtype.bits = 4));
    FROM(UNSUPPORTED, managed.version.major = 2);
    FROM(UNSUPPORTED, managed.version.major = 0);

    /* A minor version of later, and no elements, are fine. */
    managed = given();
    managed.version.minor = 99;
    managed.dl_tensor.data = NULL;
    managed.dl_tensor.shape = none;
    OK(modelserve_tensor_from_dlpack(&managed, "X", strides, 2, &tensor));
    CHECK(tensor.rank == 2 && tensor.dims[0] == 0);

    managed = given();
    STATUS(BUFFER_TOO_SMALL, modelserve_tensor_from_dlpack(&managed, "X", strides, 1, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack(NULL, "X", strides, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack(&managed, NULL, strides, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack(&managed, "X", NULL, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack(&managed, "X", strides, 32, NULL));
    memset(&older, 0, sizeof older);
    older.dl_tensor = given().dl_tensor;
    IS_NULL(modelserve_tensor_from_dlpack_legacy(NULL, "X", strides, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack_legacy(&older, NULL, strides, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack_legacy(&older, "X", NULL, 32, &tensor));
    IS_NULL(modelserve_tensor_from_dlpack_legacy(&older, "X", strides, 32, NULL));
    older.dl_tensor.ndim = -1;
    STATUS(INVALID_INPUT,
           modelserve_tensor_from_dlpack_legacy(&older, "X", strides, 32, &tensor));
    CHECK(deleted == 0);
}

static void out(modelserve_model iris)
{
    modelserve_dl_managed_versioned *labels, *shared, *copied;
    modelserve_dl_managed *older;
    modelserve_tensor input = {0};
    modelserve_outputs outputs, gone = {12345};
    float scores[9];
    size_t needed;

    input.name = "X";
    input.data = rows;
    input.dims = shape;
    input.rank = 2;
    input.dtype = MODELSERVE_DTYPE_FLOAT32;
    OK(modelserve_run(iris, &input, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_data(outputs, 1, scores, sizeof scores, &needed));
    OK(modelserve_outputs_dlpack(outputs, 0, 0, &labels));
    OK(modelserve_outputs_dlpack(outputs, 1, 0, &shared));
    OK(modelserve_outputs_dlpack(outputs, 1, 1, &copied));
    OK(modelserve_outputs_dlpack_legacy(outputs, 1, &older));
    STATUS(NOT_FOUND, modelserve_outputs_dlpack(outputs, 2, 0, &shared));
    STATUS(NOT_FOUND, modelserve_outputs_dlpack_legacy(outputs, 2, &older));
    STATUS(INVALID_ARGUMENT, modelserve_outputs_dlpack(outputs, 0, 2, &shared));
    IS_NULL(modelserve_outputs_dlpack(outputs, 0, 0, NULL));
    IS_NULL(modelserve_outputs_dlpack_legacy(outputs, 0, NULL));
    IS_INVALID(modelserve_outputs_dlpack(gone, 0, 0, &shared));
    IS_INVALID(modelserve_outputs_dlpack_legacy(gone, 0, &older));
    OK(modelserve_outputs_free(outputs));

    /* What went out lives on. */
    CHECK(labels->dl_tensor.dtype.code == 0 && labels->dl_tensor.dtype.bits == 64);
    CHECK(labels->dl_tensor.ndim == 1 && labels->dl_tensor.shape[0] == 3);
    CHECK(shared->version.major == 1 && shared->flags == MODELSERVE_DL_READ_ONLY);
    CHECK(copied->flags == MODELSERVE_DL_COPIED);
    CHECK(shared->dl_tensor.data != copied->dl_tensor.data);
    CHECK(shared->dl_tensor.ndim == 2 && shared->dl_tensor.shape[1] == 3);
    CHECK(shared->dl_tensor.strides[0] == 3 && shared->dl_tensor.strides[1] == 1);
    CHECK(shared->dl_tensor.device.device_type == MODELSERVE_DL_CPU);
    CHECK(shared->dl_tensor.dtype.lanes == 1 && shared->dl_tensor.byte_offset == 0);
    CHECK(memcmp(shared->dl_tensor.data, scores, sizeof scores) == 0);
    CHECK(memcmp(older->dl_tensor.data, scores, sizeof scores) == 0);
    memset(copied->dl_tensor.data, 0, sizeof scores);
    memset(older->dl_tensor.data, 0, sizeof scores);
    CHECK(memcmp(shared->dl_tensor.data, scores, sizeof scores) == 0);
    labels->deleter(labels);
    shared->deleter(shared);
    copied->deleter(copied);
    older->deleter(older);
}

int main(int argc, char **argv)
{
    modelserve_model iris;
    modelserve_batch batch;
    int64_t want[3];
    if (argc != 2) {
        return 2;
    }
    OK(modelserve_model_load(argv[1], NULL, &iris));
    OK(modelserve_predict_batch(iris, rows[0], 3, 4, 0, want, 3, NULL, 0, &batch));
    in(iris, want);
    hostile();
    out(iris);
    OK(modelserve_model_free(iris));
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
