// Callbacks that throw, results of single calls, views, the caller's memory, DLPack and HTTP:
// through the C++ wrapper. Arguments: the iris model, one with text labels.
#include <modelserve.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static const std::chrono::seconds hang(300);
static const std::vector<float> rows = {5.9f, 3.0f, 5.1f, 1.8f, 5.4f, 3.0f,
                                        4.5f, 1.5f, 5.0f, 3.5f, 1.3f, 0.3f};
static const std::array<float, 4> row = {5.9f, 3.0f, 5.1f, 1.8f};

template <typename Call> static modelserve_status status_of(Call call) {
    auto result = modelserve::attempt(call);
    return result ? MODELSERVE_STATUS_OK : result.error().status();
}

static std::string text_of(std::exception_ptr thrown) {
    CHECK(thrown);
    try {
        std::rethrow_exception(thrown);
    } catch (const std::exception &error) {
        return error.what();
    }
}

template <typename Ready> static void wait_until(Ready ready) {
    const auto until = std::chrono::steady_clock::now() + hang;
    while (!ready()) {
        CHECK(std::chrono::steady_clock::now() < until);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

static void callbacks(const char *v1) {
    CHECK(!modelserve::take_thrown() && modelserve::thrown_count() == 0);
    const auto alive = std::make_shared<int>(0);
    {
        modelserve::Manager manager(1);
        manager.on_event(
            [alive](const modelserve_event &) { throw std::runtime_error("of an event"); });
        modelserve::Model iris = manager.load("iris", v1);
        wait_until([] { return modelserve::thrown_count() > 0; });
        CHECK(text_of(modelserve::take_thrown()) == "of an event");
        // The model and its thread go on.
        CHECK(iris.predict(row).model_version == 1);
        manager.unload("iris");
    }
    wait_until([&] { return alive.use_count() == 1; });
    modelserve::take_thrown();
    modelserve::Model iris = modelserve::Model::load(v1);

    // With a handler each is handed on, on the thread that it was thrown on.
    std::atomic<int> handed(0);
    std::string last;
    std::mutex mutex;
    modelserve::set_on_thrown([&](std::exception_ptr thrown) {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            last = text_of(thrown);
        }
        ++handed;
        throw std::logic_error("the handler's own is dropped");
    });
    const auto is = [&](const char *want) {
        const std::lock_guard<std::mutex> lock(mutex);
        return last == want;
    };
    iris.submit(row, [](modelserve_status, const modelserve::Prediction *, const std::string &) {
        throw std::runtime_error("of a row");
    });
    wait_until([&] { return handed == 1; });
    CHECK(is("of a row"));
    iris.submit_batch(modelserve::Rows(rows.data(), 3, 4),
                      [](modelserve_status, const modelserve::Batch *, const std::string &) {
                          throw std::runtime_error("of a batch");
                      });
    wait_until([&] { return handed == 2; });
    CHECK(is("of a batch"));
    modelserve::Inputs inputs;
    inputs.add("X", rows.data(), {3, 4});
    iris.submit_run(inputs, {}, [](modelserve_status, modelserve::Outputs *, const std::string &) {
        throw std::runtime_error("of a run");
    });
    wait_until([&] { return handed == 3; });
    CHECK(is("of a run") && !modelserve::take_thrown());
    // A failure that is told, to a callback that throws.
    iris.submit(modelserve::Span<const float>(row.data(), 3),
                [](modelserve_status status, const modelserve::Prediction *, const std::string &) {
                    throw modelserve::Error(status, "of a refusal");
                });
    wait_until([&] { return handed == 4; });
    CHECK(is("of a refusal"));
    std::atomic<bool> logged(false);
    modelserve::set_log([&](const modelserve_log_record &) {
        if (!logged.exchange(true)) {
            throw std::runtime_error("of the log");
        }
    });
    modelserve::Manager(1).load("second", v1);
    modelserve::flush_log(300000000000u);
    modelserve::end_log();
    wait_until([&] { return handed == 5; });
    CHECK(is("of the log"));
    modelserve::set_on_thrown(nullptr);
}

static void results(const char *v1) {
    const modelserve::Model iris = modelserve::Model::load(v1);
    const modelserve::Result<modelserve_prediction> good =
        modelserve::attempt([&] { return iris.predict(row); });
    CHECK(good && good->model_version == 1);
    const auto bad = modelserve::attempt([&] { return iris.predict({1.0f}); });
    CHECK(!bad && bad.error().status() == MODELSERVE_STATUS_INVALID_INPUT);
    CHECK(status_of([&] { return bad.value(); }) == MODELSERVE_STATUS_INVALID_INPUT);
    modelserve::Manager manager(1);
    CHECK(status_of([&] { manager.unload("none"); }) == MODELSERVE_STATUS_NOT_FOUND);
    bool passed = false;
    try {
        static_cast<void>(modelserve::attempt([]() -> int { throw std::logic_error("other"); }));
    } catch (const std::logic_error &) {
        passed = true;
    }
    CHECK(passed);
}

static void views(const char *v1, const char *strings) {
    const modelserve::Model iris = modelserve::Model::load(v1);
    const float plain[4] = {5.9f, 3.0f, 5.1f, 1.8f};
    const std::vector<double> doubles(row.begin(), row.end());
    const auto want = iris.predict(row);
    CHECK(iris.predict(plain).label == want.label && iris.predict(doubles).label == want.label);
    CHECK(iris.predict(modelserve::Span<const float>(rows.data(), 4)).label == want.label);
    CHECK(iris.predict({5.9f, 3.0f, 5.1f, 1.8f}).label == want.label);
    CHECK(iris.predict(doubles, modelserve::request_options()).receipt.version == 1);
    std::array<double, 3> scores{};
    CHECK(iris.predict_into(row, scores).n_scores == 3 && scores[0] + scores[1] + scores[2] > 0.99);
    std::vector<std::int64_t> labels(3);
    const auto batch = iris.predict_batch(modelserve::Rows(rows.data(), 3, 4));
    const modelserve::Rows turned(rows.data() + 8, 3, 4, -16);
    CHECK(iris.predict_into(turned, labels, {}).n_labels == 1);
    CHECK(labels[0] == batch.labels[2] && labels[2] == batch.labels[0]);
    CHECK(iris.submit_batch(modelserve::Rows(doubles.data(), 1, 4)).get().labels[0] == want.label);
    CHECK(iris.submit(doubles).get().label == want.label);
    CHECK(iris.estimated(100) >= iris.estimated(1));

    modelserve::Span<const float> none;
    CHECK(none.empty() && none.begin() == none.end());
    int sum = 0;
    const std::vector<int> three = {1, 2, 3};
    for (const int one : modelserve::Span<const int>(three)) {
        sum += one;
    }
    CHECK(sum == 6 && modelserve::Span<const int>(three)[2] == 3);

    // Prepared: rows by column.
    const float by_column[4][3] = {
        {5.9f, 5.4f, 5.0f}, {3.0f, 3.0f, 3.5f}, {5.1f, 4.5f, 1.3f}, {1.8f, 1.5f, 0.3f}};
    auto layout = modelserve::layout();
    layout.width = 4;
    layout.max_rows = 3;
    layout.row_stride = sizeof(float);
    layout.feature_stride = 3 * sizeof(float);
    const modelserve::Prepared<float> prepared = iris.prepare<float>(layout);
    modelserve_receipt receipt{};
    CHECK(prepared.predict(by_column[0], 3, labels, {}, &receipt).n_scores == 3);
    CHECK(labels == batch.labels && receipt.version == 1 && receipt.digest[0] != '\0');

    // A run into the caller's memory.
    modelserve::Inputs inputs;
    inputs.add("X", by_column[0], {3, 4}, {sizeof(float), 3 * sizeof(float)});
    const std::string name = iris.outputs()[0].name;
    modelserve_buffer buffer{};
    buffer.name = name.c_str();
    buffer.data = labels.data();
    buffer.len = labels.size() * sizeof labels[0];
    labels.assign(3, -1);
    iris.run_into(inputs, modelserve::Span<modelserve_buffer>(&buffer, 1));
    CHECK(labels == batch.labels && buffer.dtype == MODELSERVE_DTYPE_INT64);

    // Texts out.
    const modelserve::Model text = modelserve::Model::load(strings);
    modelserve::Inputs given;
    given.add(text.inputs()[0].name, rows.data(), {3, 4});
    const modelserve::Outputs outputs = text.run(given);
    const std::vector<std::string> all = outputs.strings(0);
    CHECK(all.size() == 3 && !all[0].empty() && all[0] == outputs.string(0, 0));
    CHECK(outputs.index(outputs.name(1)) == 1);
    CHECK(status_of([&] { outputs.index("none"); }) == MODELSERVE_STATUS_NOT_FOUND);
    const std::vector<std::string> two = {"a", "b"};
    CHECK(status_of([&] { given.add("t", two, {3}); }) == MODELSERVE_STATUS_INVALID_ARGUMENT);
}

static int deleted = 0;

static void dlpack(const char *v1) {
    const modelserve::Model iris = modelserve::Model::load(v1);
    const auto batch = iris.predict_batch(modelserve::Rows(rows.data(), 3, 4));
    std::int64_t shape[2] = {3, 4}, strides[2] = {4, 1};
    modelserve_dl_managed_versioned managed{};
    managed.version = {MODELSERVE_DL_MAJOR_VERSION, MODELSERVE_DL_MINOR_VERSION};
    managed.deleter = [](modelserve_dl_managed_versioned *) { deleted++; };
    managed.dl_tensor.data = const_cast<float *>(rows.data());
    managed.dl_tensor.device = {MODELSERVE_DL_CPU, 0};
    managed.dl_tensor.ndim = 2;
    managed.dl_tensor.dtype = {2, 32, 1};
    managed.dl_tensor.shape = shape;
    managed.dl_tensor.strides = strides;
    modelserve::DlTensor labels;
    {
        modelserve::DlTensor given(&managed), moved;
        moved = std::move(given);
        CHECK(given.get() == nullptr && moved.get() == &managed);
        modelserve::Inputs inputs;
        inputs.add("X", moved);
        const modelserve::Outputs outputs = iris.run(inputs);
        CHECK(outputs.data<std::int64_t>(0) == batch.labels);
        std::vector<float> scores(9);
        CHECK(outputs.read(1, modelserve::Span<float>(scores)) == 9);
        CHECK(static_cast<double>(scores[4]) == batch.scores[4]);
        CHECK(status_of([&] { outputs.read(1, modelserve::Span<float>(scores.data(), 8)); }) ==
              MODELSERVE_STATUS_BUFFER_TOO_SMALL);
        labels = outputs.dlpack(0);
        const modelserve::DlTensorLegacy older = outputs.dlpack_legacy(0);
        CHECK(std::memcmp(older.get()->dl_tensor.data, batch.labels.data(), 24) == 0);
        CHECK(deleted == 0);
    }
    CHECK(deleted == 1);
    CHECK(std::memcmp(labels.get()->dl_tensor.data, batch.labels.data(), 24) == 0);
    modelserve_dl_managed_versioned *ours = labels.release();
    CHECK(labels.get() == nullptr);
    ours->deleter(ours);

    managed.dl_tensor.device.device_type = 2;
    modelserve::DlTensor cuda(&managed);
    modelserve::Inputs inputs;
    CHECK(status_of([&] { inputs.add("X", cuda); }) == MODELSERVE_STATUS_INVALID_INPUT);
    CHECK(inputs.size() == 0);
    cuda.release();
    CHECK(deleted == 1);
}

static void http(const char *v1) {
    modelserve::Manager manager(1);
    manager.load("iris", v1);
    auto options = modelserve::http_options();
    options.max_body_bytes = 8;
    const modelserve::Http small = manager.http(&options), plain = manager.http();
    const std::string body = "{\"instances\": [[5.9, 3.0, 5.1, 1.8]]}";
    CHECK(small.handle("POST", "/v1/models/iris:predict", {}, body).status == 413);
    CHECK(plain.handle("POST", "/v1/models/iris:predict", {}, body).status == 200);
    std::promise<modelserve::HttpResponse> promise;
    const auto keep = [&](modelserve::HttpResponse told) { promise.set_value(std::move(told)); };
    plain.submit("POST", "/v1/models/iris:predict", {{"Content-Type", "application/json"}}, body,
                 keep);
    const modelserve::HttpResponse response = promise.get_future().get();
    CHECK(response.status == 200 && response.body.find("predictions") != std::string::npos);
    CHECK(status_of([] { modelserve::Http().handle("GET", "/"); }) ==
          MODELSERVE_STATUS_INVALID_HANDLE);
    const modelserve::Model leased = manager.lease("iris", 1);
    CHECK(leased.is_pinned() && manager.can_answer("iris", 1));
    manager.set_label("iris", "stable", 1);
    CHECK(manager.lease("iris", "stable").version() == 1 && manager.can_answer("iris", "stable"));
    CHECK(status_of([&] { manager.load_from_repository("iris"); }) == MODELSERVE_STATUS_NOT_FOUND);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    callbacks(argv[1]);
    results(argv[1]);
    views(argv[1], argv[2]);
    dlpack(argv[1]);
    http(argv[1]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
