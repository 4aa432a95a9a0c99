/* A program of another project: asks the model that it is given, and says what it linked. */
#include <modelserve.h>
#include <stdio.h>

static int failed(const char *what)
{
    char message[512];

    modelserve_last_error(message, sizeof message);
    fprintf(stderr, "%s: %s\n", what, message);
    return 1;
}

int main(int argc, char **argv)
{
    static const float row[4] = {5.9f, 3.0f, 5.1f, 1.8f};
    modelserve_model model;
    modelserve_prediction answer;

    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL\n", argv[0]);
        return 2;
    }
    if (modelserve_abi_version() != MODELSERVE_ABI_VERSION) {
        fprintf(stderr, "compiled for another interface than that of the library\n");
        return 1;
    }
    if (modelserve_model_load(argv[1], NULL, &model) != MODELSERVE_STATUS_OK)
        return failed("load");
    if (modelserve_predict(model, row, 4, &answer) != MODELSERVE_STATUS_OK)
        return failed("predict");
    if (modelserve_model_free(model) != MODELSERVE_STATUS_OK)
        return failed("free");
    printf("modelserve %s: label %d\n", modelserve_version(), (int)answer.label);
    return 0;
}
