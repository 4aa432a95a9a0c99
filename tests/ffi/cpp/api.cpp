// The C++ wrapper: ownership, exceptions, predictions. Arguments: two versions of the iris model
// and one with text labels.
#include <modelserve.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static_assert(!std::is_copy_constructible<modelserve::Model>::value, "one owner");
static_assert(std::is_nothrow_move_constructible<modelserve::Model>::value, "moves cannot fail");
static_assert(std::is_nothrow_move_assignable<modelserve::Manager>::value, "moves cannot fail");

template <typename Call> static modelserve_status status_of(Call call) {
    try {
        call();
    } catch (const modelserve::Error &error) {
        CHECK(error.what()[0] != '\0');
        return error.status();
    }
    return MODELSERVE_STATUS_OK;
}

static void use(const char *v1, const char *v2, const char *strings) {
    const std::vector<float> rows = {5.9f, 3.0f, 5.1f, 1.8f, 5.0f, 3.5f, 1.3f, 0.3f};
    const std::vector<float> row(rows.begin(), rows.begin() + 4);

    modelserve::Manager manager;
    modelserve::Model iris = manager.load("iris", v1);
    const modelserve_prediction before = iris.predict(row);
    const modelserve::Batch batch = iris.predict_batch(rows.data(), 2, 4);
    CHECK(batch.labels.size() == 2 && batch.labels[0] == before.label);
    CHECK(batch.scores.size() == 6 && batch.info.n_scores == 3);
    const modelserve::Batch turned = iris.predict_batch(rows.data() + 4, 2, 4, -16);
    CHECK(turned.labels[0] == batch.labels[1] && turned.labels[1] == batch.labels[0]);
    CHECK(iris.predict_batch(nullptr, 0, 4).labels.empty());

    modelserve::Model pinned = iris.pin();
    CHECK(manager.reload("iris", v2) == iris.version());
    CHECK(iris.predict(row).label != before.label);
    CHECK(pinned.predict(row).label == before.label);
    CHECK(pinned.version() == before.model_version);
    CHECK(manager.models() == "[\"iris\"]");
    CHECK(manager.stats("iris").find("\"versions\"") != std::string::npos);
    CHECK(!manager.metrics().empty());
    CHECK(iris.info().find("\"classifier\"") != std::string::npos);

    CHECK(status_of([&] { manager.load("iris", v1); }) == MODELSERVE_STATUS_ALREADY_EXISTS);
    CHECK(status_of([&] { manager.model("none"); }) == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(status_of([&] { iris.predict({1.0f}); }) == MODELSERVE_STATUS_INVALID_INPUT);
    CHECK(status_of([&] { modelserve::Model().version(); }) == MODELSERVE_STATUS_INVALID_HANDLE);

    modelserve::Model moved = std::move(iris);
    CHECK(moved.version() > before.model_version);
    CHECK(iris.get().id == 0);
    moved = std::move(pinned);
    CHECK(moved.version() == before.model_version);
    manager.unload("iris");
    CHECK(moved.predict(row).label == before.label);

    CHECK(modelserve::inspect_json(v1).find("\"loadable\":true") != std::string::npos);
    CHECK(modelserve::inspect_json("abc", 3).find("\"InvalidModel\"") != std::string::npos);
    CHECK(status_of([&] { modelserve::inspect_json("/nowhere"); }) == MODELSERVE_STATUS_NOT_FOUND);

    const modelserve_load_options options = modelserve::load_options();
    const modelserve::Model text = modelserve::Model::load(strings, &options);
    const modelserve_prediction prediction = text.predict(row);
    CHECK(prediction.answer == MODELSERVE_ANSWER_TEXT);
    const std::vector<std::string> classes = text.classes();
    CHECK(classes.size() == 3);
    CHECK(classes[static_cast<std::size_t>(prediction.class_index)] == prediction.label_text);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    CHECK(modelserve_abi_version() == MODELSERVE_ABI_VERSION);
    use(argv[1], argv[2], argv[3]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
