/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <modelserve.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            char text_[512];                                                                       \
            modelserve_last_error(text_, sizeof text_);                                            \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__,            \
                    #condition, text_);                                                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define OK(call) CHECK((call) == MODELSERVE_STATUS_OK)
#define STATUS(code, call) CHECK((call) == MODELSERVE_STATUS_##code)
#define IS_NULL(call) STATUS(NULL_ARGUMENT, call)
#define IS_INVALID(call) STATUS(INVALID_HANDLE, call)

static const float rows[3][4] = {
    {5.9f, 3.0f, 5.1f, 1.8f}, {5.4f, 3.0f, 4.5f, 1.5f}, {5.0f, 3.5f, 1.3f, 0.3f}};

static inline void *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    long size;
    void *bytes;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size = ftell(file);
    CHECK(size > 0 && fseek(file, 0, SEEK_SET) == 0);
    bytes = malloc((size_t)size);
    CHECK(bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

#endif
