// The C++ wrapper without exceptions: every failure is a result. Built with the compiler's
// exceptions off. Arguments: two versions of the iris model that disagree on the first row, a
// native booster.
#include <modelserve.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __cpp_exceptions
#error "to be compiled with -fno-exceptions"
#endif

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static_assert(std::is_same<modelserve::Answer<int>, modelserve::Result<int>>::value, "results");
static_assert(!std::is_copy_constructible<modelserve::Manager>::value, "one owner");
static_assert(!std::is_default_constructible<modelserve::Manager>::value, "made by create");
static_assert(std::is_nothrow_move_constructible<modelserve::Model>::value, "moves cannot fail");

static const float rows[3][4] = {
    {5.9f, 3.0f, 5.1f, 1.8f}, {5.4f, 3.0f, 4.5f, 1.5f}, {5.0f, 3.5f, 1.3f, 0.3f}};

static void results() {
    modelserve::Result<int> good(3);
    CHECK(good && good.has_value() && *good == 3 && good.value() == 3);
    CHECK(std::move(good).value_or(5) == 3);
    modelserve::Result<int> bad(modelserve::Error(MODELSERVE_STATUS_IO, "no disk"));
    CHECK(!bad && bad.error().status() == MODELSERVE_STATUS_IO);
    CHECK(std::strcmp(bad.error().what(), "no disk") == 0);
    CHECK(std::move(bad).value_or(5) == 5);
    modelserve::Result<void> done;
    CHECK(done);
    done = modelserve::Result<void>(modelserve::Error(MODELSERVE_STATUS_IO, "no disk"));
    CHECK(!done && done.error().status() == MODELSERVE_STATUS_IO);
    modelserve::Result<std::string> text(std::string("abc"));
    CHECK(text->size() == 3);
    CHECK(modelserve::attempt([] { return modelserve::Result<int>(7); }).value() == 7);
}

static void use(const char *v1, const char *v2) {
    auto manager = modelserve::Manager::create(1);
    CHECK(manager);
    modelserve::Result<modelserve::Model> loaded = manager->load("iris", v1);
    CHECK(loaded);
    modelserve::Model iris = *std::move(loaded);
    const auto again = manager->load("iris", v1);
    CHECK(!again && again.error().status() == MODELSERVE_STATUS_ALREADY_EXISTS);
    CHECK(again.error().what()[0] != '\0');
    CHECK(modelserve::Model::load("/no/such/file").error().status() == MODELSERVE_STATUS_NOT_FOUND);

    const std::int64_t one = iris.predict(rows[0])->label;
    const std::vector<double> doubles(rows[0], rows[0] + 4);
    CHECK(iris.predict(doubles)->label == one);
    CHECK(iris.predict({1.0f}).error().status() == MODELSERVE_STATUS_INVALID_INPUT);
    const auto batch = iris.predict_batch(modelserve::Rows(rows[0], 3, 4));
    CHECK(batch && batch->labels.size() == 3 && batch->labels[0] == one);
    std::array<std::int64_t, 3> labels{};
    std::array<double, 9> scores{};
    const auto into = iris.predict_into(modelserve::Rows(rows[0], 3, 4), labels, scores);
    CHECK(into && into->n_scores == 3 && labels[0] == one && scores[0] == batch->scores[0]);
    const auto no_room = iris.predict_into(modelserve::Rows(rows[0], 3, 4), labels,
                                           modelserve::Span<double>(scores.data(), 2));
    CHECK(no_room.error().status() == MODELSERVE_STATUS_BUFFER_TOO_SMALL);
    CHECK(iris.explain(modelserve::Rows(rows[0], 3, 4)).error().status() ==
          MODELSERVE_STATUS_UNSUPPORTED);
    CHECK(iris.importance(MODELSERVE_IMPORTANCE_GAIN).error().status() ==
          MODELSERVE_STATUS_UNSUPPORTED);

    CHECK(*iris.name() == "iris" && !*iris.is_pinned() && *iris.version() == 1);
    CHECK(iris.classes()->size() == 3);
    const auto inputs = iris.inputs();
    CHECK(inputs && inputs->size() == 1 && (*inputs)[0].name == "X" && (*inputs)[0].dims[1] == 4);
    CHECK(iris.outputs()->size() == 2);
    CHECK(modelserve::Model().inputs().error().status() == MODELSERVE_STATUS_INVALID_HANDLE);

    modelserve::Inputs tensors;
    CHECK(tensors.add("X", rows[0], {3, 4}));
    CHECK(tensors.add("Y", rows[0], {3, 4}, {16}).error().status() ==
          MODELSERVE_STATUS_INVALID_ARGUMENT);
    const auto outputs = iris.run(tensors);
    CHECK(outputs && *outputs->count() == 2);
    CHECK(outputs->data<std::int64_t>(0)->front() == one);
    CHECK(outputs->data<float>(0).error().status() == MODELSERVE_STATUS_INVALID_ARGUMENT);
    CHECK(outputs->index("none").error().status() == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(iris.run(tensors, {"none"}).error().status() == MODELSERVE_STATUS_INVALID_INPUT);
    const auto shared = outputs->dlpack(1);
    CHECK(shared && shared->get()->flags == MODELSERVE_DL_READ_ONLY);
    CHECK(outputs->dlpack(7).error().status() == MODELSERVE_STATUS_NOT_FOUND);

    auto layout = modelserve::layout();
    layout.width = 4;
    layout.max_rows = 3;
    const auto prepared = iris.prepare<float>(layout);
    CHECK(prepared && prepared->predict(rows[0], 3, labels, scores)->model_version == 1);
    CHECK(prepared->predict(rows[0], 4, labels, scores).error().status() ==
          MODELSERVE_STATUS_INVALID_ARGUMENT);

    // Futures of results, those of what cannot be submitted as well.
    modelserve::Request request;
    modelserve::Future<modelserve::Prediction> future = iris.submit(rows[0], nullptr, &request);
    CHECK(future.get()->label == one);
    CHECK(request.cancel());
    CHECK(iris.submit({1.0f}).get().error().status() == MODELSERVE_STATUS_INVALID_INPUT);
    CHECK(modelserve::Model().submit({1.0f}).get().error().status() ==
          MODELSERVE_STATUS_INVALID_HANDLE);
    CHECK(iris.submit_batch(modelserve::Rows(rows[0], 3, 4)).get()->labels == batch->labels);
    CHECK(*iris.submit_run(tensors).get()->count() == 2);
    CHECK(iris.submit_columns(tensors).get()->labels == batch->labels);

    CHECK(*manager->reload("iris", v2) == 2);
    CHECK(iris.predict(rows[0])->label != one);
    CHECK(manager->serve("iris", 9).error().status() == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(manager->pin({"iris"})->size() == 1);
    CHECK(!manager->configure("iris", "[cahce]") && manager->configure("iris", ""));
    CHECK(*manager->can_answer("iris"));
    CHECK(manager->lease("iris", "none").error().status() == MODELSERVE_STATUS_NOT_FOUND);
    const auto response = manager->http_handle("GET", "/v2/health/ready");
    CHECK(response && response->status == 200);
    CHECK(manager->unload("iris"));
    CHECK(iris.predict(rows[0]).error().status() == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(modelserve::inspect_json(v1)->find("\"loadable\":true") != std::string::npos);
}

static void explaining(const char *booster) {
    auto options = modelserve::load_options();
    options.explain = 1;
    const auto model = modelserve::Model::load(booster, &options);
    CHECK(model);
    const auto width = static_cast<std::size_t>(model->inputs()->front().dims[1]);
    const std::vector<float> floats(2 * width, 0.5f);
    const std::vector<double> doubles(2 * width, 0.5);
    const auto told = model->explain(modelserve::Rows(floats.data(), 2, width));
    CHECK(told && told->info.n_features == width);
    CHECK(model->explain(modelserve::Rows(doubles.data(), 2, width))->values.size() ==
          told->values.size());
    CHECK(model->apply(modelserve::Rows(doubles.data(), 2, width))->trees > 0);
    CHECK(model->importance(MODELSERVE_IMPORTANCE_SPLITS)->size() == width);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    results();
    use(argv[1], argv[2]);
    explaining(argv[3]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
