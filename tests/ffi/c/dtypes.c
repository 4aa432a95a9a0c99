/*
 * Every element type, into a model and out of it: its bytes come back, from memory without
 * alignment and in another order, too. The models are made here: one Identity each.
 */
#include "check.h"

/* Messages of this size have lengths of one byte. */
enum { MESSAGE = 128, WIDEST = 16 };

typedef struct {
    unsigned char bytes[MESSAGE];
    size_t len;
} message;

static void put(message *m, unsigned field, const void *bytes, size_t len)
{
    CHECK(len < MESSAGE && m->len + len + 2 <= MESSAGE);
    m->bytes[m->len++] = (unsigned char)(field << 3 | 2);
    m->bytes[m->len++] = (unsigned char)len;
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

static void put_text(message *m, unsigned field, const char *text)
{
    put(m, field, text, strlen(text));
}

static void put_number(message *m, unsigned field, unsigned number)
{
    CHECK(number < 128 && m->len + 2 <= MESSAGE);
    m->bytes[m->len++] = (unsigned char)(field << 3);
    m->bytes[m->len++] = (unsigned char)number;
}

/* A ValueInfoProto: `name`, of the element type and 2 by 3. */
static message value(const char *name, unsigned dtype)
{
    message two = {{0}, 0}, three = {{0}, 0}, shape = {{0}, 0};
    message tensor = {{0}, 0}, type = {{0}, 0}, m = {{0}, 0};
    put_number(&two, 1, 2);
    put_number(&three, 1, 3);
    put(&shape, 1, two.bytes, two.len);
    put(&shape, 1, three.bytes, three.len);
    put_number(&tensor, 1, dtype);
    put(&tensor, 2, shape.bytes, shape.len);
    put(&type, 1, tensor.bytes, tensor.len);
    put_text(&m, 1, name);
    put(&m, 2, type.bytes, type.len);
    return m;
}

static modelserve_model identity(unsigned dtype)
{
    modelserve_model model;
    message node = {{0}, 0}, graph = {{0}, 0}, opset = {{0}, 0}, m = {{0}, 0};
    message x = value("x", dtype), y = value("y", dtype);
    put_text(&node, 1, "x");
    put_text(&node, 2, "y");
    put_text(&node, 4, "Identity");
    put(&graph, 1, node.bytes, node.len);
    put_text(&graph, 2, "g");
    put(&graph, 11, x.bytes, x.len);
    put(&graph, 12, y.bytes, y.len);
    put_number(&opset, 2, 28);
    put_number(&m, 1, 13);
    put(&m, 7, graph.bytes, graph.len);
    put(&m, 8, opset.bytes, opset.len);
    OK(modelserve_model_load_bytes(m.bytes, m.len, NULL, &model));
    return model;
}

typedef struct {
    int32_t dtype;
    size_t size;
    /* What an element's first byte may be: below this. */
    unsigned values;
} element;

static const element elements[] = {
    {MODELSERVE_DTYPE_FLOAT32, 4, 256},        {MODELSERVE_DTYPE_UINT8, 1, 256},
    {MODELSERVE_DTYPE_INT8, 1, 256},           {MODELSERVE_DTYPE_UINT16, 2, 256},
    {MODELSERVE_DTYPE_INT16, 2, 256},          {MODELSERVE_DTYPE_INT32, 4, 256},
    {MODELSERVE_DTYPE_INT64, 8, 256},          {MODELSERVE_DTYPE_BOOL, 1, 2},
    {MODELSERVE_DTYPE_FLOAT16, 2, 256},        {MODELSERVE_DTYPE_FLOAT64, 8, 256},
    {MODELSERVE_DTYPE_UINT32, 4, 256},         {MODELSERVE_DTYPE_UINT64, 8, 256},
    {MODELSERVE_DTYPE_COMPLEX64, 8, 256},      {MODELSERVE_DTYPE_COMPLEX128, 16, 256},
    {MODELSERVE_DTYPE_BFLOAT16, 2, 256},       {MODELSERVE_DTYPE_FLOAT8E4M3FN, 1, 256},
    {MODELSERVE_DTYPE_FLOAT8E4M3FNUZ, 1, 256}, {MODELSERVE_DTYPE_FLOAT8E5M2, 1, 256},
    {MODELSERVE_DTYPE_FLOAT8E5M2FNUZ, 1, 256}, {MODELSERVE_DTYPE_UINT4, 1, 16},
    {MODELSERVE_DTYPE_INT4, 1, 16},            {MODELSERVE_DTYPE_FLOAT4E2M1, 1, 16},
    {MODELSERVE_DTYPE_FLOAT8E8M0, 1, 256},     {MODELSERVE_DTYPE_UINT2, 1, 4},
    {MODELSERVE_DTYPE_INT2, 1, 4},             {MODELSERVE_DTYPE_FLOAT6E2M3, 1, 64},
    {MODELSERVE_DTYPE_FLOAT6E3M2, 1, 64},
};

static const int64_t dims[2] = {2, 3};
static const char *const words[6] = {"a", "", "two words", "\xc3\xa4", "e", "f"};

static modelserve_tensor tensor_of(int32_t dtype, const void *data)
{
    modelserve_tensor x;
    memset(&x, 0, sizeof x);
    x.name = "x";
    x.data = data;
    x.dims = dims;
    x.rank = 2;
    x.dtype = dtype;
    return x;
}

/* The bytes of the only output of `x` through `model`. */
static void through(modelserve_model model, const modelserve_tensor *x, size_t size, void *out)
{
    modelserve_outputs outputs;
    int64_t shape[2] = {0, 0};
    size_t rank = 0, needed = 0;
    int32_t dtype = -1;
    char text[1024];

    OK(modelserve_run(model, x, 1, NULL, 0, &outputs));
    OK(modelserve_outputs_dtype(outputs, 0, &dtype));
    CHECK(dtype == x->dtype);
    STATUS(BUFFER_TOO_SMALL, modelserve_outputs_dims(outputs, 0, shape, 1, &rank));
    OK(modelserve_outputs_dims(outputs, 0, shape, 2, &rank));
    CHECK(rank == 2 && shape[0] == 2 && shape[1] == 3);
    OK(modelserve_outputs_data(outputs, 0, NULL, 0, &needed));
    CHECK(needed == 6 * size);
    STATUS(BUFFER_TOO_SMALL, modelserve_outputs_data(outputs, 0, out, needed - 1, &needed));
    OK(modelserve_outputs_data(outputs, 0, out, 6 * size, &needed));
    OK(modelserve_outputs_json(outputs, 0, text, sizeof text, &needed));
    CHECK(strncmp(text, "{\"data\":[", 9) == 0 && strstr(text, "\"dims\":[2,3]") != NULL);
    OK(modelserve_outputs_free(outputs));
}

static void every_type(const element *e)
{
    unsigned char given[6 * WIDEST + 1], turned[6 * WIDEST], got[6 * WIDEST];
    ptrdiff_t strides[2];
    unsigned char *first = given + 1;
    modelserve_model model = identity((unsigned)e->dtype);
    modelserve_tensor x = tensor_of(e->dtype, first);
    size_t i, k, size = e->size;

    for (i = 0; i < 6 * size; i++)
        first[i] = (unsigned char)((i * 37 + 11) % e->values);
    through(model, &x, size, got);
    CHECK(memcmp(first, got, 6 * size) == 0);

    /* The same numbers, column by column in memory. */
    for (i = 0; i < 2; i++)
        for (k = 0; k < 3; k++)
            memcpy(turned + (k * 2 + i) * size, first + (i * 3 + k) * size, size);
    strides[0] = (ptrdiff_t)size;
    strides[1] = (ptrdiff_t)(2 * size);
    x.data = turned;
    x.strides = strides;
    through(model, &x, size, got);
    CHECK(memcmp(first, got, 6 * size) == 0);

    /* Text where numbers are taken, and what is no type or no tensor. */
    x = tensor_of(MODELSERVE_DTYPE_STRING, words);
    {
        modelserve_outputs outputs;
        STATUS(INVALID_INPUT, modelserve_run(model, &x, 1, NULL, 0, &outputs));
        x.dtype = 0;
        STATUS(INVALID_ARGUMENT, modelserve_run(model, &x, 1, NULL, 0, &outputs));
        x.dtype = 99;
        STATUS(INVALID_ARGUMENT, modelserve_run(model, &x, 1, NULL, 0, &outputs));
        x = tensor_of(e->dtype, first);
        x.reserved = 1;
        STATUS(INVALID_ARGUMENT, modelserve_run(model, &x, 1, NULL, 0, &outputs));
    }
    OK(modelserve_model_free(model));
}

static void bools_are_0_or_1(void)
{
    static const unsigned char two[6] = {0, 1, 2, 0, 1, 0};
    modelserve_model model = identity(MODELSERVE_DTYPE_BOOL);
    modelserve_tensor x = tensor_of(MODELSERVE_DTYPE_BOOL, two);
    modelserve_outputs outputs;

    STATUS(INVALID_INPUT, modelserve_run(model, &x, 1, NULL, 0, &outputs));
    OK(modelserve_model_free(model));
}

static void texts(void)
{
    modelserve_model model = identity(MODELSERVE_DTYPE_STRING);
    modelserve_tensor x = tensor_of(MODELSERVE_DTYPE_STRING, words);
    modelserve_outputs outputs;
    char text[32];
    size_t i, needed;

    OK(modelserve_run(model, &x, 1, NULL, 0, &outputs));
    for (i = 0; i < 6; i++) {
        OK(modelserve_outputs_string(outputs, 0, i, text, sizeof text, &needed));
        CHECK(strcmp(text, words[i]) == 0 && needed == strlen(words[i]));
    }
    STATUS(NOT_FOUND, modelserve_outputs_string(outputs, 0, 6, text, sizeof text, &needed));
    STATUS(INVALID_ARGUMENT, modelserve_outputs_data(outputs, 0, text, sizeof text, &needed));
    OK(modelserve_outputs_free(outputs));
    OK(modelserve_model_free(model));
}

/* What JSON says of numbers that it has no words for. */
static void json(void)
{
    static const struct {
        int32_t dtype;
        unsigned char bytes[6 * WIDEST];
        const char *data;
    } cases[] = {
        {MODELSERVE_DTYPE_BOOL, {1, 0, 1, 1, 0, 0}, "[true,false,true,true,false,false]"},
        {MODELSERVE_DTYPE_INT4, {0, 7, 8, 15, 1, 2}, "[0,7,-8,-1,1,2]"},
        {MODELSERVE_DTYPE_UINT2, {0, 1, 2, 3, 1, 2}, "[0,1,2,3,1,2]"},
        {MODELSERVE_DTYPE_UINT64,
         {255, 255, 255, 255, 255, 255, 255, 255, 1},
         "[18446744073709551615,1,0,0,0,0]"},
        {MODELSERVE_DTYPE_BFLOAT16,
         {0x80, 0x3f, 0x80, 0x7f, 0xc0, 0x7f, 0, 0xc0},
         "[1.0,null,null,-2.0,0.0,0.0]"},
        {MODELSERVE_DTYPE_FLOAT8E5M2, {0x3c, 0x7c, 0xc0, 0, 0, 0}, "[1.0,null,-2.0,0.0,0.0,0.0]"},
        {MODELSERVE_DTYPE_COMPLEX64,
         {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0},
         "[[1.0,-2.0],[0.0,0.0],[0.0,0.0],[0.0,0.0],[0.0,0.0],[0.0,0.0]]"},
        {MODELSERVE_DTYPE_COMPLEX128,
         {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0},
         "[[1.0,-2.0],[0.0,0.0],[0.0,0.0],[0.0,0.0],[0.0,0.0],[0.0,0.0]]"},
    };
    size_t i, needed;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        modelserve_model model = identity((unsigned)cases[i].dtype);
        modelserve_tensor x = tensor_of(cases[i].dtype, cases[i].bytes);
        modelserve_outputs outputs;
        char text[256], expected[256];

        OK(modelserve_run(model, &x, 1, NULL, 0, &outputs));
        OK(modelserve_outputs_json(outputs, 0, text, sizeof text, &needed));
        snprintf(expected, sizeof expected, "{\"data\":%s,\"dims\":[2,3]}", cases[i].data);
        if (strcmp(text, expected) != 0)
            fprintf(stderr, "type %d: %s\n", (int)cases[i].dtype, text);
        CHECK(strcmp(text, expected) == 0);
        OK(modelserve_outputs_free(outputs));
        OK(modelserve_model_free(model));
    }
}

int main(void)
{
    size_t i;
    for (i = 0; i < sizeof elements / sizeof *elements; i++)
        every_type(&elements[i]);
    bools_are_0_or_1();
    texts();
    json();
    CHECK(modelserve_live_handles() == 0);
    printf("dtypes: %d types came back\n", (int)(sizeof elements / sizeof *elements) + 1);
    return 0;
}
