/*
 * The part of onnxruntime's C interface that one_row.c calls.
 *
 * The wheel has the library but not onnxruntime_c_api.h. That interface is a table of functions to
 * which later versions only append, so each is known here by its place; `cargo test` in this
 * folder compares the places with those of the crate ort-sys.
 */
#ifndef PEERS_ORT_TABLE_H
#define PEERS_ORT_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    ORT_GetErrorMessage = 2,
    ORT_CreateEnv = 3,
    ORT_CreateSession = 7,
    ORT_Run = 9,
    ORT_CreateSessionOptions = 10,
    ORT_SetSessionGraphOptimizationLevel = 23,
    ORT_SetIntraOpNumThreads = 24,
    ORT_SetInterOpNumThreads = 25,
    ORT_SessionGetOutputCount = 31,
    ORT_SessionGetInputName = 36,
    ORT_SessionGetOutputName = 37,
    ORT_CreateTensorWithDataAsOrtValue = 49,
    ORT_GetTensorMutableData = 51,
    ORT_GetTensorShapeElementCount = 64,
    ORT_GetTensorTypeAndShape = 65,
    ORT_CreateCpuMemoryInfo = 69,
    ORT_GetAllocatorWithDefaultOptions = 78,
    ORT_ReleaseTensorTypeAndShapeInfo = 99,
};

/* Every version since 1.17 answers this one. */
#define ORT_API_VERSION 17
#define ORT_LOG_ERROR 3
#define ORT_ENABLE_ALL 99
#define ORT_FLOAT 1
#define ORT_DEVICE_ALLOCATOR 0
#define ORT_MEMORY_DEFAULT 0

typedef void (*ort_function)(void);
typedef void *ort_status; /* NULL: it went well */

struct ort_base {
    const ort_function *(*get_api)(uint32_t version);
    const char *(*version)(void);
};

typedef ort_status (*ort_create_env)(int level, const char *name, void **env);
typedef ort_status (*ort_create_options)(void **options);
typedef ort_status (*ort_set_int)(void *options, int value);
typedef ort_status (*ort_create_session)(void *env, const char *path, void *options, void **out);
typedef ort_status (*ort_create_memory)(int allocator, int kind, void **memory);
typedef ort_status (*ort_get_allocator)(void **allocator);
typedef ort_status (*ort_get_count)(void *session, size_t *count);
typedef ort_status (*ort_get_name)(void *session, size_t index, void *allocator, char **name);
typedef ort_status (*ort_create_tensor)(void *memory, void *data, size_t bytes,
                                        const int64_t *shape, size_t dimensions, int type,
                                        void **value);
typedef ort_status (*ort_run)(void *session, void *options, const char *const *input_names,
                              void *const *inputs, size_t n_inputs,
                              const char *const *output_names, size_t n_outputs, void **outputs);
typedef ort_status (*ort_get_shape)(void *value, void **info);
typedef ort_status (*ort_get_elements)(void *info, size_t *count);
typedef ort_status (*ort_get_data)(void *value, void **data);
typedef void (*ort_release)(void *value);
typedef const char *(*ort_message)(ort_status status);

#endif
