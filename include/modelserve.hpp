// modelserve for C++17: owning, move-only wrappers of modelserve.h. Header-only.
//
// Every failure is a modelserve::Error. Objects may be used from several threads at once, as the
// handles beneath may; moving or destroying one is for a single thread.
#ifndef MODELSERVE_HPP
#define MODELSERVE_HPP

#include "modelserve.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace modelserve {

/// A call that failed: `what()` says why, `status()` is for branching.
class Error : public std::runtime_error {
public:
    Error(modelserve_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {}

    /// One of MODELSERVE_STATUS_*.
    modelserve_status status() const noexcept { return status_; }

private:
    modelserve_status status_;
};

namespace detail {

inline void check(modelserve_status status) {
    if (status == MODELSERVE_STATUS_OK) {
        return;
    }
    std::string message(modelserve_last_error(nullptr, 0), '\0');
    // A std::string has room for the NUL behind its last character.
    modelserve_last_error(&message[0], message.size() + 1);
    throw Error(status, message);
}

/// The text that `call(buf, len, &needed)` gives, however often it grows meanwhile.
template <typename Call> std::string text(Call call) {
    std::string text(256, '\0');
    for (;;) {
        std::size_t needed = 0;
        const modelserve_status status = call(&text[0], text.size() + 1, &needed);
        text.resize(needed);
        if (status != MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
            check(status);
            return text;
        }
    }
}

/// A handle that is freed once.
template <typename Handle, modelserve_status (*Free)(Handle)> class Owned {
public:
    Owned() noexcept : handle_{0} {}
    explicit Owned(Handle handle) noexcept : handle_(handle) {}
    Owned(Owned &&other) noexcept : handle_(std::exchange(other.handle_, Handle{0})) {}
    Owned &operator=(Owned &&other) noexcept {
        if (this != &other) {
            Free(handle_);
            handle_ = std::exchange(other.handle_, Handle{0});
        }
        return *this;
    }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    ~Owned() { Free(handle_); }

    Handle get() const noexcept { return handle_; }

private:
    Handle handle_;
};

} // namespace detail

namespace detail {

/// A function of the caller's behind the C interface's `user_data`.
template <typename Function> struct Callback {
    Function function;

    static void release(void *data) noexcept { delete static_cast<Callback *>(data); }
};

template <typename Options, modelserve_status (*Init)(Options *)> Options initialised() {
    Options options;
    check(Init(&options));
    return options;
}

} // namespace detail

/// Options with the defaults set.
inline modelserve_load_options load_options() {
    return detail::initialised<modelserve_load_options, modelserve_load_options_init>();
}
/// Options with the defaults set.
inline modelserve_reload_options reload_options() {
    return detail::initialised<modelserve_reload_options, modelserve_reload_options_init>();
}
/// Options with the defaults set.
inline modelserve_gate_options gate_options() {
    return detail::initialised<modelserve_gate_options, modelserve_gate_options_init>();
}
/// Options with the defaults set.
inline modelserve_request_options request_options() {
    return detail::initialised<modelserve_request_options, modelserve_request_options_init>();
}
/// Options with the defaults set.
inline modelserve_manager_options manager_options() {
    return detail::initialised<modelserve_manager_options, modelserve_manager_options_init>();
}
/// Options with the defaults set.
inline modelserve_repository_options repository_options() {
    return detail::initialised<modelserve_repository_options,
                               modelserve_repository_options_init>();
}

/// A prediction and how it came about.
struct Prediction : modelserve_prediction {
    modelserve_receipt receipt{};
};

/// A submitted prediction, to be cancelled. Destroying it lets the prediction go on.
class Request {
public:
    /// Stands for no prediction.
    Request() noexcept = default;
    /// Takes over a handle.
    explicit Request(modelserve_request handle) noexcept : handle_(handle) {}

    /// Asks for the prediction to end: it fails with MODELSERVE_STATUS_CANCELLED, unless it has
    /// its answer already.
    void cancel() const { detail::check(modelserve_request_cancel(get())); }

    /// The handle, still owned by this.
    modelserve_request get() const noexcept { return handle_.get(); }

private:
    detail::Owned<modelserve_request, modelserve_request_free> handle_;
};

/// Told what a submitted prediction came to: MODELSERVE_STATUS_OK with a prediction, or another
/// status with nullptr and a message. On a thread of the library, or on the submitting one where
/// no model has to run. One that throws ends the program.
using OnPrediction =
    std::function<void(modelserve_status, const Prediction *, const std::string &)>;
/// Told of an event, on a thread of its own. One that throws ends the program.
using OnEvent = std::function<void(const modelserve_event &)>;
/// Told of a record of the log, on a thread of its own. One that throws ends the program.
using OnLog = std::function<void(const modelserve_log_record &)>;

/// The answers for a batch of rows, as columns.
struct Batch {
    /// One label a row (a class's index for text labels); empty where the answers are numbers.
    std::vector<std::int64_t> labels;
    /// `info.n_scores` numbers a row, row-major.
    std::vector<double> scores;
    /// What the rows have in common.
    modelserve_batch info{};
    /// How the answers came about.
    modelserve_receipt receipt{};
};

/// A model to predict with.
class Model {
public:
    /// Owns nothing; every call fails with MODELSERVE_STATUS_INVALID_HANDLE.
    Model() noexcept = default;
    /// Takes over a handle.
    explicit Model(modelserve_model handle) noexcept : handle_(handle) {}

    /// Loads a model file without a manager.
    static Model load(const std::string &path, const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        detail::check(modelserve_model_load(path.c_str(), options, &handle));
        return Model(handle);
    }

    /// Loads a model from the bytes of its file.
    static Model load_bytes(const void *bytes, std::size_t size,
                            const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        detail::check(modelserve_model_load_bytes(static_cast<const std::uint8_t *>(bytes), size,
                                                  options, &handle));
        return Model(handle);
    }

    /// Predicts one row.
    modelserve_prediction predict(const float *row, std::size_t width) const {
        modelserve_prediction prediction;
        detail::check(modelserve_predict(get(), row, width, &prediction));
        return prediction;
    }
    modelserve_prediction predict(const std::vector<float> &row) const {
        return predict(row.data(), row.size());
    }

    /// Predicts one row, as `options` say, with a receipt.
    Prediction predict(const float *row, std::size_t width,
                       const modelserve_request_options &options) const {
        Prediction prediction;
        detail::check(modelserve_predict_with(get(), row, width, &options, &prediction,
                                              &prediction.receipt));
        return prediction;
    }
    Prediction predict(const std::vector<float> &row,
                       const modelserve_request_options &options) const {
        return predict(row.data(), row.size(), options);
    }

    /// Predicts `n_rows` rows; `row_stride` is in bytes, 0 for rows without gaps.
    Batch predict_batch(const float *rows, std::size_t n_rows, std::size_t width,
                        std::ptrdiff_t row_stride = 0,
                        const modelserve_request_options *options = nullptr) const {
        Batch batch;
        // How many numbers a row has is known after the first row: ask that before all of them.
        modelserve_batch shape;
        if (n_rows > 0) {
            detail::check(modelserve_predict_batch_with(get(), rows, 1, width, 0, options, nullptr,
                                                        0, nullptr, 0, &shape, nullptr));
            batch.labels.resize(product(n_rows, shape.n_labels));
            batch.scores.resize(product(n_rows, shape.n_scores));
        }
        detail::check(modelserve_predict_batch_with(
            get(), rows, n_rows, width, row_stride, options, batch.labels.data(),
            batch.labels.size(), batch.scores.data(), batch.scores.size(), &batch.info,
            &batch.receipt));
        return batch;
    }

    /// Asks for the prediction of one row, which is copied; `done` is called exactly once. Where
    /// this throws, `done` is not called.
    Request submit(const float *row, std::size_t width, OnPrediction done,
                   const modelserve_request_options *options = nullptr) const {
        using Data = detail::Callback<OnPrediction>;
        auto data = std::unique_ptr<Data>(new Data{std::move(done)});
        modelserve_request handle{0};
        detail::check(modelserve_predict_submit(get(), row, width, options, told, data.get(),
                                                &handle));
        // It belongs to the callback, which may have run already.
        static_cast<void>(data.release());
        return Request(handle);
    }

    /// Asks for the prediction of one row, which is copied. What it fails with is in the future;
    /// `request`, where given, is for cancelling.
    std::future<Prediction> submit(const float *row, std::size_t width,
                                   const modelserve_request_options *options = nullptr,
                                   Request *request = nullptr) const {
        auto promise = std::make_shared<std::promise<Prediction>>();
        std::future<Prediction> future = promise->get_future();
        Request asked = submit(
            row, width,
            [promise](modelserve_status status, const Prediction *prediction,
                      const std::string &message) {
                if (prediction != nullptr) {
                    promise->set_value(*prediction);
                } else {
                    promise->set_exception(std::make_exception_ptr(Error(status, message)));
                }
            },
            options);
        if (request != nullptr) {
            *request = std::move(asked);
        }
        return future;
    }
    std::future<Prediction> submit(const std::vector<float> &row,
                                   const modelserve_request_options *options = nullptr,
                                   Request *request = nullptr) const {
        return submit(row.data(), row.size(), options, request);
    }

    /// A model that keeps answering with the version serving now.
    Model pin() const {
        modelserve_model handle{0};
        detail::check(modelserve_model_pin(get(), &handle));
        return Model(handle);
    }

    /// The number of the version that answers now.
    std::uint64_t version() const {
        std::uint64_t version = 0;
        detail::check(modelserve_model_version(get(), &version));
        return version;
    }

    /// What is known of the model, as JSON.
    std::string info() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_model_info(get(), buf, len, needed);
        });
    }

    /// The labels of the classes, in the order of the scores.
    std::vector<std::string> classes() const {
        std::size_t count = 0;
        detail::check(modelserve_model_class_count(get(), &count));
        std::vector<std::string> labels;
        for (std::size_t i = 0; i < count; i++) {
            labels.push_back(
                detail::text([this, i](char *buf, std::size_t len, std::size_t *needed) {
                    return modelserve_model_class_label(get(), i, buf, len, needed);
                }));
        }
        return labels;
    }

    /// The handle, still owned by this.
    modelserve_model get() const noexcept { return handle_.get(); }

private:
    static void told(void *data, modelserve_status status, const modelserve_prediction *prediction,
                     const modelserve_receipt *receipt, const char *error) noexcept {
        using Data = detail::Callback<OnPrediction>;
        const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
        if (status == MODELSERVE_STATUS_OK) {
            Prediction both;
            static_cast<modelserve_prediction &>(both) = *prediction;
            both.receipt = *receipt;
            owned->function(status, &both, std::string());
        } else {
            owned->function(status, nullptr, error);
        }
    }

    static std::size_t product(std::size_t rows, std::size_t width) {
        if (width != 0 && rows > SIZE_MAX / width) {
            throw std::length_error("modelserve: the answers pass the address space");
        }
        return rows * width;
    }

    detail::Owned<modelserve_model, modelserve_model_free> handle_;
};

/// The response to an HTTP request.
struct HttpResponse {
    /// The HTTP status.
    std::int32_t status = 0;
    /// Names and values, without the length.
    std::vector<std::pair<std::string, std::string>> headers;
    /// The bytes of the body.
    std::string body;
};

/// Named models that are loaded, reloaded and unloaded while others predict.
class Manager {
public:
    /// `threads` worker threads for large predictions; 0 means the process's CPU quota.
    explicit Manager(std::size_t threads = 0) {
        modelserve_manager handle{0};
        detail::check(modelserve_manager_new(threads, &handle));
        handle_ = Owned(handle);
    }

    /// A manager as `options` say.
    explicit Manager(const modelserve_manager_options &options) {
        modelserve_manager handle{0};
        detail::check(modelserve_manager_new_with(&options, &handle));
        handle_ = Owned(handle);
    }

    /// A manager as the TOML file at `path` describes it.
    static Manager from_config(const std::string &path) {
        modelserve_manager handle{0};
        detail::check(modelserve_manager_from_config(path.c_str(), &handle));
        return Manager(Owned(handle));
    }

    /// Loads a model file and serves it as `name`.
    Model load(const std::string &name, const std::string &path,
               const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        detail::check(
            modelserve_manager_load(get(), name.c_str(), path.c_str(), options, &handle));
        return Model(handle);
    }

    /// Loads a new version of `name` from `path`; answers its number.
    std::uint64_t reload(const std::string &name, const std::string &path,
                         const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        detail::check(modelserve_manager_reload(get(), name.c_str(), path.c_str(), options,
                                                &version));
        return version;
    }

    /// Loads the present file of `name` again; answers the new version's number.
    std::uint64_t reload(const std::string &name) {
        std::uint64_t version = 0;
        detail::check(
            modelserve_manager_reload(get(), name.c_str(), nullptr, nullptr, &version));
        return version;
    }

    /// Stops serving `name`.
    void unload(const std::string &name) {
        detail::check(modelserve_manager_unload(get(), name.c_str()));
    }

    /// A model bound to `name`.
    Model model(const std::string &name) const {
        modelserve_model handle{0};
        detail::check(modelserve_manager_model(get(), name.c_str(), &handle));
        return Model(handle);
    }

    /// The names of all models, as a JSON array.
    std::string models() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_models(get(), buf, len, needed);
        });
    }

    /// The counters of `name`, as JSON.
    std::string stats(const std::string &name) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_stats(get(), name.c_str(), buf, len, needed);
        });
    }

    /// All counters in Prometheus's text format.
    std::string metrics() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_metrics(get(), buf, len, needed);
        });
    }

    /// Loads another version of `name` beside the serving one; answers its number.
    std::uint64_t load_version(const std::string &name, const std::string &path,
                               const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        detail::check(modelserve_manager_load_version(get(), name.c_str(), path.c_str(), options,
                                                      &version));
        return version;
    }

    /// Lets an available version answer the requests that name none.
    void serve(const std::string &name, std::uint64_t version) {
        detail::check(modelserve_manager_serve(get(), name.c_str(), version));
    }

    /// Lets the version serve again that served before; answers its number.
    std::uint64_t rollback(const std::string &name) {
        std::uint64_t version = 0;
        detail::check(modelserve_manager_rollback(get(), name.c_str(), &version));
        return version;
    }

    /// Takes one version that does not serve out of service.
    void unload_version(const std::string &name, std::uint64_t version) {
        detail::check(modelserve_manager_unload_version(get(), name.c_str(), version));
    }

    /// The versions of `name` and where each is in its life, as JSON.
    std::string versions(const std::string &name) const {
        return report(name, modelserve_manager_versions);
    }

    /// Points a label to an available version.
    void set_label(const std::string &name, const std::string &label, std::uint64_t version) {
        detail::check(modelserve_manager_set_label(get(), name.c_str(), label.c_str(), version));
    }

    /// Removes a label.
    void remove_label(const std::string &name, const std::string &label) {
        detail::check(modelserve_manager_remove_label(get(), name.c_str(), label.c_str()));
    }

    /// The labels of `name` and the versions they point to, as JSON.
    std::string labels(const std::string &name) const {
        return report(name, modelserve_manager_labels);
    }

    /// What the last gate of `name` found, as JSON; `null` where nothing was tried yet.
    std::string gate_report(const std::string &name) const {
        return report(name, modelserve_manager_gate_report);
    }

    /// One consistent set of versions over several models, in the order of the names.
    std::vector<Model> pin(const std::vector<std::string> &names) const {
        std::vector<const char *> texts;
        for (const std::string &name : names) {
            texts.push_back(name.c_str());
        }
        std::vector<modelserve_model> handles(names.size(), modelserve_model{0});
        std::vector<Model> models(names.size());
        detail::check(modelserve_manager_pin(get(), texts.data(), texts.size(), handles.data()));
        for (std::size_t i = 0; i < handles.size(); i++) {
            models[i] = Model(handles[i]);
        }
        return models;
    }

    /// Sets the policies of `name` from text in the words of the configuration file.
    void configure(const std::string &name, const std::string &toml) {
        detail::check(modelserve_manager_configure(get(), name.c_str(), toml.c_str()));
    }

    /// Sets the share of the requests that the canary of `name` gets.
    void set_canary_percent(const std::string &name, double percent) {
        detail::check(modelserve_manager_set_canary_percent(get(), name.c_str(), percent));
    }

    /// What each arm of the canary of `name` did, as JSON; `null` without one.
    std::string traffic(const std::string &name) const {
        return report(name, modelserve_manager_traffic);
    }

    /// Where the promotion of the canary of `name` stands, as JSON; `null` without one.
    std::string promotion(const std::string &name) const {
        return report(name, modelserve_manager_promotion);
    }

    /// What the shadow of `name` found, as JSON; `null` without one.
    std::string shadow(const std::string &name) const {
        return report(name, modelserve_manager_shadow);
    }

    /// What the response cache of `name` did, as JSON; `null` without one.
    std::string cache(const std::string &name) const {
        return report(name, modelserve_manager_cache);
    }

    /// Where the circuit breaker of a version (0: the serving one) stands, as JSON; `null` without
    /// one.
    std::string circuit(const std::string &name, std::uint64_t version = 0) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_circuit(get(), name.c_str(), version, buf, len, needed);
        });
    }

    /// What each available version holds in memory, as JSON.
    std::string memory() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_memory(get(), buf, len, needed);
        });
    }

    /// Calls `function` with each event from now on, until the manager and the models that came
    /// from it are gone.
    void on_event(OnEvent function) {
        using Data = detail::Callback<OnEvent>;
        auto data = std::unique_ptr<Data>(new Data{std::move(function)});
        // The library releases it, also when it fails.
        detail::check(
            modelserve_manager_on_event(get(), happened, data.release(), Data::release));
    }

    /// Serves a folder of models.
    void serve_repository(const std::string &root,
                          const modelserve_repository_options *options = nullptr) {
        detail::check(modelserve_manager_serve_repository(get(), root.c_str(), options));
    }

    /// Looks at the folder now; answers what that did, as JSON.
    std::string refresh() {
        detail::check(modelserve_manager_refresh(get()));
        return repository_report();
    }

    /// What the last look at the folder that was asked for did, as JSON.
    std::string repository_report() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_repository_report(get(), buf, len, needed);
        });
    }

    /// Answers one HTTP request: `method` in capitals, `target` with its query.
    HttpResponse http_handle(
        const std::string &method, const std::string &target,
        const std::vector<std::pair<std::string, std::string>> &headers = {},
        const std::string &body = std::string()) const {
        std::vector<const char *> names, values;
        for (const auto &header : headers) {
            names.push_back(header.first.c_str());
            values.push_back(header.second.c_str());
        }
        modelserve_http_response handle{0};
        detail::check(modelserve_manager_http_handle(
            get(), method.c_str(), target.c_str(), names.data(), values.data(), names.size(),
            reinterpret_cast<const std::uint8_t *>(body.data()), body.size(), &handle));
        const detail::Owned<modelserve_http_response, modelserve_http_response_free> owned(handle);
        HttpResponse response;
        detail::check(modelserve_http_response_status(handle, &response.status));
        std::size_t size = 0;
        detail::check(modelserve_http_response_header_count(handle, &size));
        for (std::size_t i = 0; i < size; i++) {
            response.headers.emplace_back(
                detail::text([&](char *buf, std::size_t len, std::size_t *needed) {
                    return modelserve_http_response_header_name(handle, i, buf, len, needed);
                }),
                detail::text([&](char *buf, std::size_t len, std::size_t *needed) {
                    return modelserve_http_response_header_value(handle, i, buf, len, needed);
                }));
        }
        detail::check(modelserve_http_response_body(handle, nullptr, 0, &size));
        response.body.resize(size);
        detail::check(modelserve_http_response_body(
            handle, reinterpret_cast<std::uint8_t *>(&response.body[0]), size, &size));
        return response;
    }

    /// The handle, still owned by this.
    modelserve_manager get() const noexcept { return handle_.get(); }

private:
    using Owned = detail::Owned<modelserve_manager, modelserve_manager_free>;

    explicit Manager(Owned handle) noexcept : handle_(std::move(handle)) {}

    template <typename Report> std::string report(const std::string &name, Report report) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return report(get(), name.c_str(), buf, len, needed);
        });
    }

    static void happened(void *data, const modelserve_event *event) noexcept {
        static_cast<detail::Callback<OnEvent> *>(data)->function(*event);
    }

    Owned handle_;
};

namespace detail {

inline void logged(void *data, const modelserve_log_record *record) noexcept {
    static_cast<Callback<OnLog> *>(data)->function(*record);
}

} // namespace detail

/// Hands what the library logs at `level` (MODELSERVE_LOG_*) and at more important ones to
/// `function`, in place of the one before. There is one for the process.
inline void set_log(OnLog function, std::int32_t level = MODELSERVE_LOG_INFO) {
    using Data = detail::Callback<OnLog>;
    auto data = std::unique_ptr<Data>(new Data{std::move(function)});
    // The library releases it, also when it fails.
    detail::check(modelserve_log_set(detail::logged, data.release(), Data::release, level));
}

/// Ends the log.
inline void end_log() {
    detail::check(modelserve_log_set(nullptr, nullptr, nullptr, MODELSERVE_LOG_ERROR));
}

/// Waits until every record so far was handed over; fails with
/// MODELSERVE_STATUS_DEADLINE_EXCEEDED.
inline void flush_log(std::uint64_t timeout_ns) { detail::check(modelserve_log_flush(timeout_ns)); }

} // namespace modelserve

#endif // MODELSERVE_HPP
