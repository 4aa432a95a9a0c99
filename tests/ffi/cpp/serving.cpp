// The serving layer through the C++ wrapper. Arguments: two versions of the iris model that
// disagree on the first row.
#include <modelserve.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
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

template <typename Call> static modelserve_status status_of(Call call) {
    try {
        call();
    } catch (const modelserve::Error &error) {
        CHECK(error.what()[0] != '\0');
        return error.status();
    }
    return MODELSERVE_STATUS_OK;
}

static bool has(const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
}

static void wait_until(const std::atomic<int> &count, int least) {
    const auto until = std::chrono::steady_clock::now() + hang;
    while (count < least) {
        CHECK(std::chrono::steady_clock::now() < until);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

static void http(const char *v1) {
    modelserve::Manager manager(1);
    manager.load("iris", v1);
    const auto ready = manager.http_handle("GET", "/v2/health/ready");
    CHECK(ready.status == 200 && ready.body == "{\"ready\":true}");
    const auto predicted = manager.http_handle(
        "POST", "/v1/models/iris:predict", {{"Content-Type", "application/json"}},
        "{\"instances\": [[5.9, 3.0, 5.1, 1.8]]}");
    CHECK(predicted.status == 200 && has(predicted.body, "\"predictions\""));
    bool found = false;
    for (const auto &header : predicted.headers) {
        found = found || (header.first == "x-modelserve-route" && header.second == "stable");
    }
    CHECK(found);
    CHECK(manager.http_handle("GET", "/nothing").status == 404);
}

static void use(const char *v1, const char *v2) {
    const std::vector<float> row = {5.9f, 3.0f, 5.1f, 1.8f};
    const auto events = std::make_shared<std::atomic<int>>(0);
    {
        auto options = modelserve::manager_options();
        options.threads = 1;
        options.keep_versions = 2;
        modelserve::Manager first(options);
        first.on_event([events](const modelserve_event &event) {
            CHECK(std::strcmp(event.model, "iris") == 0 && event.version == 1);
            ++*events;
        });
        first.load("iris", v1);
        modelserve::Manager moved = std::move(first);
        moved.unload("iris");
    }
    // START, LOADING, AVAILABLE, serving, UNLOADING, END; then the callback is destroyed.
    wait_until(*events, 6);
    while (events.use_count() > 1) {
        std::this_thread::yield();
    }

    modelserve::Manager manager(1);
    manager.on_event([events](const modelserve_event &) { ++*events; });
    modelserve::Model iris = manager.load("iris", v1);
    const auto one = iris.predict(row).label;
    CHECK(manager.load_version("iris", v2) == 2);
    auto options = modelserve::request_options();
    options.version = 2;
    const modelserve::Prediction other = iris.predict(row, options);
    const auto two = other.label;
    CHECK(one != two && other.receipt.version == 2);
    CHECK(std::strcmp(other.receipt.model, "iris") == 0);
    CHECK(iris.predict_batch(row.data(), 1, 4, 0, &options).receipt.version == 2);
    options.version = 9;
    CHECK(status_of([&] { iris.predict(row, options); }) == MODELSERVE_STATUS_NOT_FOUND);

    manager.set_label("iris", "canary", 2);
    CHECK(manager.labels("iris") == "{\"canary\":2}");
    CHECK(has(manager.versions("iris"), "AVAILABLE"));
    manager.serve("iris", 2);
    CHECK(iris.predict(row).label == two);
    CHECK(manager.rollback("iris") == 1);

    manager.configure("iris", "[cache]\n[canary]\nversion = 2\npercent = 0\n[breaker]");
    options = modelserve::request_options();
    CHECK(iris.predict(row, options).receipt.cache == MODELSERVE_CACHE_MISS);
    CHECK(iris.predict(row, options).receipt.cache == MODELSERVE_CACHE_HIT);
    CHECK(has(manager.cache("iris"), "\"hits\":1"));
    CHECK(has(manager.traffic("iris"), "version 2"));
    CHECK(manager.promotion("iris") == "null" && manager.shadow("iris") == "null");
    CHECK(manager.gate_report("iris") == "null");
    CHECK(has(manager.circuit("iris"), "closed"));
    CHECK(has(manager.memory(), "iris"));
    manager.set_canary_percent("iris", 100);
    CHECK(iris.predict(row).label == two);
    CHECK(status_of([&] { manager.configure("iris", "[cahce]"); }) ==
          MODELSERVE_STATUS_INVALID_ARGUMENT);
    manager.configure("iris", "[batching]\nmax_batch_size = 16");
    manager.remove_label("iris", "canary");

    // Futures, callbacks, cancelling.
    std::vector<std::future<modelserve::Prediction>> futures;
    for (int i = 0; i < 200; i++) {
        futures.push_back(iris.submit(row));
    }
    for (auto &future : futures) {
        CHECK(future.wait_for(hang) == std::future_status::ready);
        const modelserve::Prediction prediction = future.get();
        CHECK(prediction.label == one && prediction.receipt.batch_rows >= 1);
    }
    std::future<modelserve::Prediction> refused = iris.submit({1.0f});
    CHECK(status_of([&] { refused.get(); }) == MODELSERVE_STATUS_INVALID_INPUT);
    bool cancelled = false;
    for (int round = 0; round < 1000 && !cancelled; round++) {
        std::vector<modelserve::Request> requests(32);
        futures.clear();
        for (auto &request : requests) {
            futures.push_back(iris.submit(row, nullptr, &request));
        }
        for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
            request->cancel();
        }
        for (auto &future : futures) {
            const modelserve_status status = status_of([&] { future.get(); });
            CHECK(status == MODELSERVE_STATUS_OK || status == MODELSERVE_STATUS_CANCELLED);
            cancelled = cancelled || status == MODELSERVE_STATUS_CANCELLED;
        }
    }
    CHECK(cancelled);
    std::atomic<int> told(0);
    iris.submit(row.data(), row.size(),
                [&](modelserve_status status, const modelserve::Prediction *prediction,
                    const std::string &error) {
                    CHECK(status == MODELSERVE_STATUS_OK && prediction->label == one);
                    CHECK(error.empty());
                    ++told;
                });
    wait_until(told, 1);
    CHECK(status_of([] { modelserve::Model().submit({1.0f}); }) ==
          MODELSERVE_STATUS_INVALID_HANDLE);
    CHECK(status_of([] { modelserve::Request().cancel(); }) == MODELSERVE_STATUS_INVALID_HANDLE);

    // Pins, and a reload that a gate refuses.
    std::vector<modelserve::Model> set = manager.pin({"iris"});
    CHECK(set.size() == 1 && manager.pin({}).empty());
    CHECK(status_of([&] { manager.pin({"iris", "none"}); }) == MODELSERVE_STATUS_NOT_FOUND);
    auto gate = modelserve::gate_options();
    gate.max_disagreement = 0.0;
    auto reload = modelserve::reload_options();
    reload.gate = &gate;
    CHECK(status_of([&] { manager.reload("iris", v2, &reload); }) ==
          MODELSERVE_STATUS_INVALID_MODEL);
    CHECK(has(manager.gate_report("iris"), "\"accepted\":false"));
    CHECK(manager.reload("iris", v2) == 3);
    CHECK(set[0].predict(row).label == one && iris.predict(row).label == two);
    CHECK(status_of([&] { manager.unload_version("iris", 3); }) ==
          MODELSERVE_STATUS_INVALID_ARGUMENT);

    CHECK(status_of([&] { manager.refresh(); }) == MODELSERVE_STATUS_NOT_FOUND);
    CHECK(manager.repository_report() == "null");
    auto folder = modelserve::repository_options();
    folder.version_policy = "all";
    CHECK(status_of([&] { manager.serve_repository("/no/such/folder", &folder); }) ==
          MODELSERVE_STATUS_NOT_FOUND);
    CHECK(status_of([] { modelserve::Manager::from_config("/no/such/file"); }) ==
          MODELSERVE_STATUS_NOT_FOUND);
    CHECK(*events > 0);

    std::atomic<int> records(0);
    modelserve::set_log([&](const modelserve_log_record &record) {
        CHECK(record.message[0] != '\0');
        ++records;
    });
    manager.load("second", v1);
    modelserve::flush_log(300000000000u);
    CHECK(records > 0);
    modelserve::end_log();
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    use(argv[1], argv[2]);
    http(argv[1]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
