// What an operator asks, submitted batches and runs, recording and replay: through the C++ wrapper.
// Arguments: two versions of the iris model that disagree on the first row.
#include <modelserve.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static_assert(!std::is_copy_constructible<modelserve::Outputs>::value, "one owner");
static_assert(std::is_nothrow_move_constructible<modelserve::Outputs>::value, "moves cannot fail");

static const std::chrono::seconds hang(300);
static const std::vector<float> rows = {5.9f, 3.0f, 5.1f, 1.8f, 5.4f, 3.0f,
                                        4.5f, 1.5f, 5.0f, 3.5f, 1.3f, 0.3f};
static const std::vector<float> row(rows.begin(), rows.begin() + 4);

template <typename Call> static modelserve_status status_of(Call call) {
    try {
        call();
    } catch (const modelserve::Error &error) {
        CHECK(error.what()[0] != '\0');
        return error.status();
    }
    return MODELSERVE_STATUS_OK;
}

template <typename Answer> static Answer got(std::future<Answer> future) {
    CHECK(future.wait_for(hang) == std::future_status::ready);
    return future.get();
}

static bool has(const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
}

static std::vector<modelserve_tensor> input() {
    static const std::int64_t dims[2] = {3, 4};
    modelserve_tensor tensor{};
    tensor.name = "X";
    tensor.data = rows.data();
    tensor.dims = dims;
    tensor.rank = 2;
    tensor.dtype = MODELSERVE_DTYPE_FLOAT32;
    return {tensor};
}

static void submitting(const char *v1) {
    modelserve::Manager manager(1);
    modelserve::Model iris = manager.load("iris", v1);
    const modelserve::Batch want = iris.predict_batch(rows.data(), 3, 4);

    std::vector<std::future<modelserve::Batch>> batches;
    for (int i = 0; i < 50; i++) {
        batches.push_back(iris.submit_batch(rows.data(), 3, 4));
    }
    for (auto &future : batches) {
        const modelserve::Batch batch = got(std::move(future));
        CHECK(batch.labels == want.labels && batch.scores == want.scores);
        CHECK(batch.info.n_scores == 3 && batch.receipt.version == 1);
    }
    const modelserve::Batch turned =
        got(iris.submit_batch(rows.data() + 8, 3, 4, nullptr, -16));
    CHECK(turned.labels[0] == want.labels[2] && turned.labels[2] == want.labels[0]);
    CHECK(got(iris.submit_batch(nullptr, 0, 4)).labels.empty());
    modelserve::Request request;
    auto failed = iris.submit_batch(rows.data(), 4, 3, nullptr, 0, &request);
    CHECK(status_of([&] { got(std::move(failed)); }) == MODELSERVE_STATUS_INVALID_INPUT);
    request.cancel();
    const auto label = std::make_shared<std::promise<std::int64_t>>();
    iris.submit_batch(rows.data(), 3, 4,
                      [label](modelserve_status status, const modelserve::Batch *batch,
                              const std::string &error) {
                          CHECK(status == MODELSERVE_STATUS_OK && error.empty());
                          label->set_value(batch->labels[1]);
                      });
    CHECK(got(label->get_future()) == want.labels[1]);

    // The general call, at once and later.
    const modelserve::Outputs outputs = iris.run(input());
    CHECK(outputs.count() == 2 && outputs.dtype(0) == MODELSERVE_DTYPE_INT64);
    CHECK(outputs.data<std::int64_t>(0) == want.labels && outputs.dims(0)[0] == 3);
    CHECK(status_of([&] { outputs.data<double>(0); }) == MODELSERVE_STATUS_INVALID_ARGUMENT);
    CHECK(status_of([&] { outputs.dtype(2); }) == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(status_of([&] { outputs.string(0, 0); }) == MODELSERVE_STATUS_INVALID_ARGUMENT);
    CHECK(has(outputs.json(0), "\"dims\"") && outputs.receipt.version == 1);
    const std::vector<float> scores = outputs.data<float>(1);
    CHECK(scores.size() == 9 && static_cast<double>(scores[4]) == want.scores[4]);
    const std::vector<std::string> one = {outputs.name(1)};
    modelserve::Outputs later = got(iris.submit_run(input(), one));
    CHECK(later.count() == 1 && later.name(0) == one[0] && later.receipt.version == 1);
    CHECK(later.data<float>(0) == scores);
    CHECK(status_of([&] { got(iris.submit_run(input(), {"none"})); }) ==
          MODELSERVE_STATUS_INVALID_INPUT);
    const auto kept = std::make_shared<std::promise<modelserve::Outputs>>();
    iris.submit_run(input(), {},
                    [kept](modelserve_status status, modelserve::Outputs *moved,
                           const std::string &error) {
                        CHECK(status == MODELSERVE_STATUS_OK && error.empty());
                        kept->set_value(std::move(*moved));
                    });
    later = got(kept->get_future());
    CHECK(later.count() == 2);
    CHECK(status_of([] { modelserve::Model().submit_batch(rows.data(), 3, 4); }) ==
          MODELSERVE_STATUS_INVALID_HANDLE);
    CHECK(status_of([] { modelserve::Model().submit_run(input()); }) ==
          MODELSERVE_STATUS_INVALID_HANDLE);
    CHECK(status_of([] { modelserve::Outputs().count(); }) == MODELSERVE_STATUS_INVALID_HANDLE);
}

static void columns(const char *v1) {
    const char *const names[4] = {"sl", "sw", "pl", "pw"};
    const std::int64_t dims[1] = {3};
    const std::ptrdiff_t apart[1] = {16};
    auto options = modelserve::load_options();
    options.feature_names = names;
    options.n_feature_names = 4;
    const modelserve::Model iris = modelserve::Model::load(v1, &options);
    std::vector<modelserve_tensor> columns(4, modelserve_tensor{});
    for (std::size_t i = 0; i < 4; i++) {
        columns[i].name = names[i];
        columns[i].data = rows.data() + i;
        columns[i].dims = dims;
        columns[i].strides = apart;
        columns[i].rank = 1;
        columns[i].dtype = MODELSERVE_DTYPE_FLOAT32;
    }
    const modelserve::Batch want = iris.predict_batch(rows.data(), 3, 4);
    const modelserve::Batch batch = iris.predict_columns(columns);
    CHECK(batch.labels == want.labels && batch.scores == want.scores);
    CHECK(batch.receipt.version == 1);
    columns.pop_back();
    CHECK(status_of([&] { iris.predict_columns(columns); }) == MODELSERVE_STATUS_INVALID_INPUT);
}

static void operating(const char *v1, const char *v2) {
    std::ifstream file(v2, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    CHECK(!bytes.empty());
    modelserve::Manager manager(1);
    modelserve::Model iris = manager.load("iris", v1);
    const auto one = iris.predict(row).label;
    CHECK(manager.load_version_bytes("iris", bytes.data(), bytes.size()) == 2);
    auto options = modelserve::request_options();
    options.version = 2;
    const auto two = iris.predict(row, options).label;
    CHECK(one != two);
    CHECK(manager.load_bytes("copy", bytes.data(), bytes.size()).predict(row).label == two);
    CHECK(manager.reload_bytes("copy", bytes.data(), bytes.size()) == 2);

    // Golden requests in the gate.
    const std::string golden =
        "{\"row\": [5.9, 3.0, 5.1, 1.8], \"prediction\": " + std::to_string(one) + "}";
    auto gate = modelserve::gate_options();
    gate.golden = golden.data();
    gate.golden_len = golden.size();
    auto reload = modelserve::reload_options();
    reload.gate = &gate;
    CHECK(status_of([&] { manager.reload("iris", v2, &reload); }) ==
          MODELSERVE_STATUS_INVALID_MODEL);
    CHECK(has(manager.gate_report("iris"), "\"golden_failed\":1"));
    CHECK(manager.reload("iris", v1, &reload) == 3);

    CHECK(manager.batching("iris") == "null");
    manager.configure("iris", "[batching]\nmax_batch_size = 8");
    CHECK(has(manager.batching("iris", 3), "bit_equal"));
    CHECK(manager.events_dropped() == 0 && modelserve::log_dropped() == 0);
    CHECK(manager.uptime().count() > 0);
    CHECK(has(manager.metrics(MODELSERVE_METRICS_OPENMETRICS), "# EOF"));
    CHECK(!has(manager.metrics(), "# EOF"));
    const modelserve::Model pinned = iris.pin();
    CHECK(iris.name() == "iris" && !iris.is_pinned() && pinned.is_pinned());
    CHECK(has(iris.stats(), "\"version\":1") && !has(pinned.stats(), "\"version\":1"));
}

static void recording(const char *v1, const char *v2) {
    char folder[] = "/tmp/modelserve-XXXXXX";
    CHECK(mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/requests.jsonl";
    modelserve::Manager manager(1);
    modelserve::Model iris = manager.load("iris", v1);
    CHECK(manager.recording("iris").recorded == 0);
    auto options = modelserve::record_options();
    options.sample = 1.0;
    manager.record("iris", path, &options);
    CHECK(status_of([&] { manager.record("iris", path); }) == MODELSERVE_STATUS_ALREADY_EXISTS);
    iris.predict(row);
    got(iris.submit_batch(rows.data(), 3, 4));
    CHECK(manager.recording("iris").recorded == 1);
    CHECK(manager.stop_recording("iris").written == 2);
    CHECK(manager.load_version("iris", v2) == 2);
    CHECK(manager.replay("iris", path).disagreements == 0);
    auto replay = modelserve::replay_options();
    replay.max_requests = 1;
    CHECK(manager.replay("iris", path, &replay, 2).disagreements == 1);
    const modelserve_replay_report report = modelserve::Model::load(v2).replay(path);
    CHECK(report.requests == 2 && report.disagreements == 2);
    CHECK(has(modelserve::to_json(report), "\"disagreements\":2"));
    CHECK(status_of([&] { iris.replay("/no/such/file"); }) == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(std::remove(path.c_str()) == 0 && std::remove(folder) == 0);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    submitting(argv[1]);
    columns(argv[1]);
    operating(argv[1], argv[2]);
    recording(argv[1], argv[2]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
