// modelserve for C++17: owning, move-only wrappers of modelserve.h. Header-only.
//
// Every failure is a modelserve::Error. Objects may be used from several threads at once, as the
// handles beneath may; moving or destroying one is for a single thread.
#ifndef MODELSERVE_HPP
#define MODELSERVE_HPP

#include "modelserve.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
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

/// The text that `call(buf, len, &needed)` gives, however often it grows meanwhile; `first` is
/// the room that is tried first.
template <typename Call> std::string text(Call call, std::size_t first = 256) {
    std::string text(first, '\0');
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

/// The element type of outputs that are read as `T`.
template <typename T> constexpr std::int32_t dtype_of() {
    static_assert(std::is_arithmetic<T>::value && !std::is_same<T, bool>::value,
                  "a number; std::uint8_t for bools");
    if constexpr (std::is_floating_point<T>::value) {
        static_assert(sizeof(T) == 4 || sizeof(T) == 8, "float or double");
        return sizeof(T) == 4 ? MODELSERVE_DTYPE_FLOAT32 : MODELSERVE_DTYPE_FLOAT64;
    } else {
        constexpr bool is_signed = std::is_signed<T>::value;
        switch (sizeof(T)) {
        case 1:
            return is_signed ? MODELSERVE_DTYPE_INT8 : MODELSERVE_DTYPE_UINT8;
        case 2:
            return is_signed ? MODELSERVE_DTYPE_INT16 : MODELSERVE_DTYPE_UINT16;
        case 4:
            return is_signed ? MODELSERVE_DTYPE_INT32 : MODELSERVE_DTYPE_UINT32;
        default:
            return is_signed ? MODELSERVE_DTYPE_INT64 : MODELSERVE_DTYPE_UINT64;
        }
    }
}

inline std::vector<const char *> pointers(const std::vector<std::string> &texts) {
    std::vector<const char *> pointers;
    for (const std::string &text : texts) {
        pointers.push_back(text.c_str());
    }
    return pointers;
}

/// Chooses a template for rows of doubles: braced lists and nullptr stay those of floats.
template <typename T> using if_double = std::enable_if_t<std::is_same<T, double>::value, int>;

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

/// Options with the defaults set.
inline modelserve_record_options record_options() {
    return detail::initialised<modelserve_record_options, modelserve_record_options_init>();
}
/// Options with the defaults set.
inline modelserve_replay_options replay_options() {
    return detail::initialised<modelserve_replay_options, modelserve_replay_options_init>();
}

/// A prediction and how it came about.
struct Prediction : modelserve_prediction {
    modelserve_receipt receipt{};
};

/// A submitted request, to be cancelled. Destroying it lets the request go on.
class Request {
public:
    /// Stands for no request.
    Request() noexcept = default;
    /// Takes over a handle.
    explicit Request(modelserve_request handle) noexcept : handle_(handle) {}

    /// Asks for the request to end: it fails with MODELSERVE_STATUS_CANCELLED, unless it has
    /// its answer already.
    void cancel() const { detail::check(modelserve_request_cancel(get())); }

    /// The handle, still owned by this.
    modelserve_request get() const noexcept { return handle_.get(); }

private:
    detail::Owned<modelserve_request, modelserve_request_free> handle_;
};

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

/// What each feature adds to the margins of some rows (`modelserve_explain`).
struct Explanations {
    /// `[rows, info.n_targets, info.n_features + 1]`, row-major: what each feature adds to the
    /// margin, and last the base. Together they are the margin.
    std::vector<double> values;
    /// The sizes.
    modelserve_explanation info{};

    /// What `feature` adds to the margin of `row`, of a class or target where there are several.
    double value(std::size_t row, std::size_t feature, std::size_t target = 0) const {
        return values.at((row * info.n_targets + target) * (info.n_features + 1) + feature);
    }
    /// What the margin is where nothing is known of a row; there has to be a row.
    double base(std::size_t target = 0) const { return value(0, info.n_features, target); }
};

/// The leaves that some rows end at (`modelserve_apply`).
struct Leaves {
    /// `[rows, trees]`, row-major.
    std::vector<std::uint32_t> leaves;
    /// How many trees there are.
    std::size_t trees = 0;
};

/// The named outputs of a run.
class Outputs {
public:
    /// Owns nothing; every call fails with MODELSERVE_STATUS_INVALID_HANDLE.
    Outputs() noexcept = default;
    /// Takes over a handle.
    explicit Outputs(modelserve_outputs handle) noexcept : handle_(handle) {}
    /// Takes over a handle, with how the outputs came about.
    Outputs(modelserve_outputs handle, const modelserve_receipt &receipt) noexcept
        : receipt(receipt), handle_(handle) {}

    /// How many outputs there are.
    std::size_t count() const {
        std::size_t count = 0;
        detail::check(modelserve_outputs_count(get(), &count));
        return count;
    }

    /// The name of output `index`.
    std::string name(std::size_t index) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_outputs_name(get(), index, buf, len, needed);
        });
    }

    /// The element type of output `index`: MODELSERVE_DTYPE_*.
    std::int32_t dtype(std::size_t index) const {
        std::int32_t dtype = 0;
        detail::check(modelserve_outputs_dtype(get(), index, &dtype));
        return dtype;
    }

    /// The dimensions of output `index`.
    std::vector<std::int64_t> dims(std::size_t index) const {
        std::size_t rank = 0;
        detail::check(modelserve_outputs_dims(get(), index, nullptr, 0, &rank));
        std::vector<std::int64_t> dims(rank);
        detail::check(modelserve_outputs_dims(get(), index, dims.data(), dims.size(), &rank));
        return dims;
    }

    /// The elements of output `index`, row-major, where they are of the type `T`: a number of
    /// fixed size, or `std::uint8_t` for bools. Another type is
    /// MODELSERVE_STATUS_INVALID_ARGUMENT.
    template <typename T> std::vector<T> data(std::size_t index) const {
        const std::int32_t has = dtype(index);
        const bool bools = has == MODELSERVE_DTYPE_BOOL && std::is_same<T, std::uint8_t>::value;
        if (has != detail::dtype_of<T>() && !bools) {
            throw Error(MODELSERVE_STATUS_INVALID_ARGUMENT,
                        "modelserve: an output is read as another element type than its own");
        }
        std::size_t needed = 0;
        detail::check(modelserve_outputs_data(get(), index, nullptr, 0, &needed));
        std::vector<T> data(needed / sizeof(T));
        detail::check(modelserve_outputs_data(get(), index, data.data(), needed, &needed));
        return data;
    }

    /// Element `element` of output `index`, which is of strings.
    std::string string(std::size_t index, std::size_t element) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_outputs_string(get(), index, element, buf, len, needed);
        });
    }

    /// Output `index`, whatever it is, as JSON.
    std::string json(std::size_t index) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_outputs_json(get(), index, buf, len, needed);
        });
    }

    /// The handle, still owned by this.
    modelserve_outputs get() const noexcept { return handle_.get(); }

    /// How the outputs came about.
    modelserve_receipt receipt{};

private:
    detail::Owned<modelserve_outputs, modelserve_outputs_free> handle_;
};

/// Told what a submitted prediction came to: MODELSERVE_STATUS_OK with a prediction, or another
/// status with nullptr and a message. On a thread of the library, or on the submitting one where
/// no model has to run. One that throws ends the program.
using OnPrediction =
    std::function<void(modelserve_status, const Prediction *, const std::string &)>;
/// Told what a submitted batch came to, as `OnPrediction`.
using OnBatch = std::function<void(modelserve_status, const Batch *, const std::string &)>;
/// Told what a submitted run came to: MODELSERVE_STATUS_OK with its outputs, or another status
/// with nullptr and a message. The outputs may be moved from. Otherwise as `OnPrediction`.
using OnOutputs = std::function<void(modelserve_status, Outputs *, const std::string &)>;
/// Told of an event, on a thread of its own. One that throws ends the program.
using OnEvent = std::function<void(const modelserve_event &)>;
/// Told of a record of the log, on a thread of its own. One that throws ends the program.
using OnLog = std::function<void(const modelserve_log_record &)>;

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

    /// Predicts one row of doubles.
    template <typename T, detail::if_double<T> = 0>
    modelserve_prediction predict(const T *row, std::size_t width) const {
        modelserve_prediction prediction;
        detail::check(modelserve_predict_f64(get(), row, width, &prediction));
        return prediction;
    }
    template <typename T, detail::if_double<T> = 0>
    modelserve_prediction predict(const std::vector<T> &row) const {
        return predict(row.data(), row.size());
    }

    /// Predicts one row of doubles, as `options` say, with a receipt.
    template <typename T, detail::if_double<T> = 0>
    Prediction predict(const T *row, std::size_t width,
                       const modelserve_request_options &options) const {
        Prediction prediction;
        detail::check(modelserve_predict_with_f64(get(), row, width, &options, &prediction,
                                                  &prediction.receipt));
        return prediction;
    }
    template <typename T, detail::if_double<T> = 0>
    Prediction predict(const std::vector<T> &row,
                       const modelserve_request_options &options) const {
        return predict(row.data(), row.size(), options);
    }

    /// Predicts `n_rows` rows; `row_stride` is in bytes, 0 for rows without gaps.
    Batch predict_batch(const float *rows, std::size_t n_rows, std::size_t width,
                        std::ptrdiff_t row_stride = 0,
                        const modelserve_request_options *options = nullptr) const {
        return batch(modelserve_predict_batch_with, rows, n_rows, width, row_stride, options);
    }

    /// Predicts `n_rows` rows of doubles.
    template <typename T, detail::if_double<T> = 0>
    Batch predict_batch(const T *rows, std::size_t n_rows, std::size_t width,
                        std::ptrdiff_t row_stride = 0,
                        const modelserve_request_options *options = nullptr) const {
        return batch(modelserve_predict_batch_with_f64, rows, n_rows, width, row_stride, options);
    }

    /// Predicts one row, its scores into the caller's memory (`modelserve_predict_scores`).
    modelserve_prediction predict_into(const float *row, std::size_t width, double *scores,
                                       std::size_t scores_len) const {
        modelserve_prediction prediction;
        detail::check(
            modelserve_predict_scores(get(), row, width, scores, scores_len, &prediction));
        return prediction;
    }
    modelserve_prediction predict_into(const double *row, std::size_t width, double *scores,
                                       std::size_t scores_len) const {
        modelserve_prediction prediction;
        detail::check(
            modelserve_predict_scores_f64(get(), row, width, scores, scores_len, &prediction));
        return prediction;
    }

    /// Predicts `n_rows` rows into the caller's memory (`modelserve_predict_batch`).
    modelserve_batch predict_into(const float *rows, std::size_t n_rows, std::size_t width,
                                  std::int64_t *labels, std::size_t labels_len, double *scores,
                                  std::size_t scores_len, std::ptrdiff_t row_stride = 0) const {
        modelserve_batch batch;
        detail::check(modelserve_predict_batch(get(), rows, n_rows, width, row_stride, labels,
                                               labels_len, scores, scores_len, &batch));
        return batch;
    }
    modelserve_batch predict_into(const double *rows, std::size_t n_rows, std::size_t width,
                                  std::int64_t *labels, std::size_t labels_len, double *scores,
                                  std::size_t scores_len, std::ptrdiff_t row_stride = 0) const {
        modelserve_batch batch;
        detail::check(modelserve_predict_batch_f64(get(), rows, n_rows, width, row_stride, labels,
                                                   labels_len, scores, scores_len, &batch));
        return batch;
    }

    /// What each feature adds to the margins of `n_rows` rows, for a model that was loaded with
    /// `explain` (`modelserve_explain`).
    Explanations explain(const float *rows, std::size_t n_rows, std::size_t width,
                         std::ptrdiff_t row_stride = 0) const {
        return explained(modelserve_explain, rows, n_rows, width, row_stride);
    }
    Explanations explain(const double *rows, std::size_t n_rows, std::size_t width,
                         std::ptrdiff_t row_stride = 0) const {
        return explained(modelserve_explain_f64, rows, n_rows, width, row_stride);
    }

    /// The leaf that each of `n_rows` rows ends at in each tree (`modelserve_apply`).
    Leaves apply(const float *rows, std::size_t n_rows, std::size_t width,
                 std::ptrdiff_t row_stride = 0) const {
        return applied(modelserve_apply, rows, n_rows, width, row_stride);
    }
    Leaves apply(const double *rows, std::size_t n_rows, std::size_t width,
                 std::ptrdiff_t row_stride = 0) const {
        return applied(modelserve_apply_f64, rows, n_rows, width, row_stride);
    }

    /// How much each feature matters to the whole model, told by `kind`, one of
    /// MODELSERVE_IMPORTANCE_*.
    std::vector<double> importance(std::int32_t kind) const {
        std::vector<double> values;
        filled(values, [&, this] {
            std::size_t features = 0;
            const modelserve_status status =
                modelserve_importance(get(), kind, values.data(), values.size(), &features);
            return std::make_pair(status, features);
        });
        return values;
    }

    /// Asks for the prediction of one row, which is copied; `done` is called exactly once. Where
    /// this throws, `done` is not called.
    Request submit(const float *row, std::size_t width, OnPrediction done,
                   const modelserve_request_options *options = nullptr) const {
        return submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_predict_submit(get(), row, width, options, told, data, request);
        });
    }

    /// Asks for the prediction of one row, which is copied. What it fails with is in the future;
    /// `request`, where given, is for cancelling.
    std::future<Prediction> submit(const float *row, std::size_t width,
                                   const modelserve_request_options *options = nullptr,
                                   Request *request = nullptr) const {
        return in_future<Prediction, const Prediction *>(
            [&](OnPrediction done) { return submit(row, width, std::move(done), options); },
            request);
    }
    std::future<Prediction> submit(const std::vector<float> &row,
                                   const modelserve_request_options *options = nullptr,
                                   Request *request = nullptr) const {
        return submit(row.data(), row.size(), options, request);
    }

    /// Predicts the rows of named columns (`modelserve_predict_columns`).
    Batch predict_columns(const std::vector<modelserve_tensor> &columns,
                          const modelserve_request_options *options = nullptr) const {
        Batch batch;
        const std::size_t rows =
            columns.empty() || columns[0].rank == 0 || columns[0].dims[0] < 0
                ? 0
                : static_cast<std::size_t>(columns[0].dims[0]);
        const auto ask = [&] {
            return modelserve_predict_columns(
                get(), columns.data(), columns.size(), options, batch.labels.data(),
                batch.labels.size(), batch.scores.data(), batch.scores.size(), &batch.info,
                &batch.receipt);
        };
        // Room for the answers of most models: one label or value a row, one score a class.
        std::size_t classes = 0;
        detail::check(modelserve_model_class_count(get(), &classes));
        batch.labels.resize(rows);
        batch.scores.resize(product(rows, classes > 1 ? classes : 1));
        modelserve_status status = ask();
        if (status == MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
            batch.labels.clear();
            batch.scores.clear();
            detail::check(ask());
            batch.labels.resize(product(rows, batch.info.n_labels));
            batch.scores.resize(product(rows, batch.info.n_scores));
            status = ask();
        }
        detail::check(status);
        batch.labels.resize(product(rows, batch.info.n_labels));
        batch.scores.resize(product(rows, batch.info.n_scores));
        return batch;
    }

    /// Runs the model on named tensors; answers the outputs of those names, all where there are
    /// none.
    Outputs run(const std::vector<modelserve_tensor> &inputs,
                const std::vector<std::string> &outputs = {},
                const modelserve_request_options *options = nullptr) const {
        const std::vector<const char *> names = detail::pointers(outputs);
        modelserve_outputs handle{0};
        modelserve_receipt receipt;
        detail::check(modelserve_run_with(get(), inputs.data(), inputs.size(), names.data(),
                                          names.size(), options, &handle, &receipt));
        return Outputs(handle, receipt);
    }

    /// Asks for the predictions of `n_rows` rows, which are copied; `done` is called exactly once.
    /// Where this throws, `done` is not called. `row_stride` is in bytes, 0 for rows without gaps.
    Request submit_batch(const float *rows, std::size_t n_rows, std::size_t width, OnBatch done,
                         const modelserve_request_options *options = nullptr,
                         std::ptrdiff_t row_stride = 0) const {
        return submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_predict_batch_submit(get(), rows, n_rows, width, row_stride, options,
                                                   told_batch, data, request);
        });
    }

    /// Asks for the predictions of `n_rows` rows, which are copied. What it fails with is in the
    /// future; `request`, where given, is for cancelling.
    std::future<Batch> submit_batch(const float *rows, std::size_t n_rows, std::size_t width,
                                    const modelserve_request_options *options = nullptr,
                                    std::ptrdiff_t row_stride = 0,
                                    Request *request = nullptr) const {
        return in_future<Batch, const Batch *>(
            [&](OnBatch done) {
                return submit_batch(rows, n_rows, width, std::move(done), options, row_stride);
            },
            request);
    }

    /// Asks for a run on named tensors, which are copied; `done` is called exactly once. Where
    /// this throws, `done` is not called.
    Request submit_run(const std::vector<modelserve_tensor> &inputs,
                       const std::vector<std::string> &outputs, OnOutputs done,
                       const modelserve_request_options *options = nullptr) const {
        const std::vector<const char *> names = detail::pointers(outputs);
        return submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_run_submit(get(), inputs.data(), inputs.size(), names.data(),
                                         names.size(), options, told_run, data, request);
        });
    }

    /// Asks for a run on named tensors, which are copied. What it fails with is in the future;
    /// `request`, where given, is for cancelling.
    std::future<Outputs> submit_run(const std::vector<modelserve_tensor> &inputs,
                                    const std::vector<std::string> &outputs = {},
                                    const modelserve_request_options *options = nullptr,
                                    Request *request = nullptr) const {
        return in_future<Outputs, Outputs *>(
            [&](OnOutputs done) {
                return submit_run(inputs, outputs, std::move(done), options);
            },
            request);
    }

    /// Puts the requests recorded in the file at `path` to this model and compares the answers
    /// with the recorded ones.
    modelserve_replay_report replay(const std::string &path,
                                    const modelserve_replay_options *options = nullptr) const {
        modelserve_replay_report report;
        detail::check(modelserve_model_replay(get(), path.c_str(), options, &report));
        return report;
    }

    /// The name it is served under; empty without a manager.
    std::string name() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_model_name(get(), buf, len, needed);
        });
    }

    /// Whether it keeps answering with one version.
    bool is_pinned() const {
        std::int32_t pinned = 0;
        detail::check(modelserve_model_is_pinned(get(), &pinned));
        return pinned != 0;
    }

    /// The counters of the model, of its one version where it is pinned, as JSON.
    std::string stats() const {
        return detail::text([this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_model_stats(get(), buf, len, needed);
        });
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

    static void told_batch(void *data, modelserve_status status,
                           const modelserve_batch_answers *answers,
                           const modelserve_receipt *receipt, const char *error) noexcept {
        using Data = detail::Callback<OnBatch>;
        const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
        if (status == MODELSERVE_STATUS_OK) {
            Batch batch;
            batch.info = answers->batch;
            batch.receipt = *receipt;
            if (answers->labels != nullptr) {
                batch.labels.assign(answers->labels,
                                    answers->labels + answers->n_rows * batch.info.n_labels);
            }
            if (answers->scores != nullptr) {
                batch.scores.assign(answers->scores,
                                    answers->scores + answers->n_rows * batch.info.n_scores);
            }
            owned->function(status, &batch, std::string());
        } else {
            owned->function(status, nullptr, error);
        }
    }

    static void told_run(void *data, modelserve_status status, modelserve_outputs handle,
                         const modelserve_receipt *receipt, const char *error) noexcept {
        using Data = detail::Callback<OnOutputs>;
        const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
        if (status == MODELSERVE_STATUS_OK) {
            Outputs outputs(handle, *receipt);
            owned->function(status, &outputs, std::string());
        } else {
            owned->function(status, nullptr, error);
        }
    }

    /// Submits with `done` as the callback's data.
    template <typename Function, typename Submit>
    static Request submitted(Function done, Submit submit) {
        using Data = detail::Callback<Function>;
        auto data = std::unique_ptr<Data>(new Data{std::move(done)});
        modelserve_request handle{0};
        detail::check(submit(data.get(), &handle));
        // It belongs to the callback, which may have run already.
        static_cast<void>(data.release());
        return Request(handle);
    }

    /// Submits with a callback that keeps a promise.
    template <typename Answer, typename Pointer, typename Submit>
    static std::future<Answer> in_future(Submit submit, Request *request) {
        auto promise = std::make_shared<std::promise<Answer>>();
        std::future<Answer> future = promise->get_future();
        Request asked = submit([promise](modelserve_status status, Pointer answer,
                                         const std::string &message) {
            if (answer != nullptr) {
                promise->set_value(std::move(*answer));
            } else {
                promise->set_exception(std::make_exception_ptr(Error(status, message)));
            }
        });
        if (request != nullptr) {
            *request = std::move(asked);
        }
        return future;
    }

    static std::size_t product(std::size_t rows, std::size_t width) {
        if (width != 0 && rows > SIZE_MAX / width) {
            throw std::length_error("modelserve: the answers pass the address space");
        }
        return rows * width;
    }

    template <typename Call, typename T>
    Batch batch(Call call, const T *rows, std::size_t n_rows, std::size_t width,
                std::ptrdiff_t row_stride, const modelserve_request_options *options) const {
        Batch batch;
        // How many numbers a row has is known after the first row: ask that before all of them.
        modelserve_batch shape;
        if (n_rows > 0) {
            detail::check(call(get(), rows, 1, width, 0, options, nullptr, 0, nullptr, 0, &shape,
                               nullptr));
            batch.labels.resize(product(n_rows, shape.n_labels));
            batch.scores.resize(product(n_rows, shape.n_scores));
        }
        detail::check(call(get(), rows, n_rows, width, row_stride, options, batch.labels.data(),
                           batch.labels.size(), batch.scores.data(), batch.scores.size(),
                           &batch.info, &batch.receipt));
        return batch;
    }

    /// Fills `values` by `ask`, which answers a status and how many there are: first asked
    /// without room, and again where a reload made room too small.
    template <typename T, typename Ask> static void filled(std::vector<T> &values, Ask ask) {
        for (;;) {
            values.clear();
            const auto size = ask();
            detail::check(size.first);
            values.resize(size.second);
            const auto told = ask();
            if (told.first != MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
                detail::check(told.first);
                values.resize(told.second);
                return;
            }
        }
    }

    template <typename Call, typename T>
    Explanations explained(Call call, const T *rows, std::size_t n_rows, std::size_t width,
                           std::ptrdiff_t row_stride) const {
        Explanations told;
        filled(told.values, [&, this] {
            const modelserve_status status = call(get(), rows, n_rows, width, row_stride,
                                                  told.values.data(), told.values.size(),
                                                  &told.info);
            const std::size_t a_row =
                product(told.info.n_targets, told.info.n_features + 1);
            return std::make_pair(status, product(n_rows, a_row));
        });
        return told;
    }

    template <typename Call, typename T>
    Leaves applied(Call call, const T *rows, std::size_t n_rows, std::size_t width,
                   std::ptrdiff_t row_stride) const {
        Leaves told;
        filled(told.leaves, [&, this] {
            const modelserve_status status =
                call(get(), rows, n_rows, width, row_stride, told.leaves.data(),
                     told.leaves.size(), &told.trees);
            return std::make_pair(status, product(n_rows, told.trees));
        });
        return told;
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

    /// Loads a model from the bytes of its file and serves it as `name`.
    Model load_bytes(const std::string &name, const void *bytes, std::size_t size,
                     const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        detail::check(modelserve_manager_load_bytes(get(), name.c_str(),
                                                    static_cast<const std::uint8_t *>(bytes), size,
                                                    options, &handle));
        return Model(handle);
    }

    /// Loads a new version of `name` from the bytes of a file; answers its number.
    std::uint64_t reload_bytes(const std::string &name, const void *bytes, std::size_t size,
                               const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        detail::check(modelserve_manager_reload_bytes(get(), name.c_str(),
                                                      static_cast<const std::uint8_t *>(bytes),
                                                      size, options, &version));
        return version;
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

    /// Loads another version of `name` from the bytes of a file; answers its number.
    std::uint64_t load_version_bytes(const std::string &name, const void *bytes, std::size_t size,
                                     const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        detail::check(modelserve_manager_load_version_bytes(
            get(), name.c_str(), static_cast<const std::uint8_t *>(bytes), size, options,
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
        const std::vector<const char *> texts = detail::pointers(names);
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

    /// What was found on batching a version (0: the serving one), as JSON; `null` without
    /// batching.
    std::string batching(const std::string &name, std::uint64_t version = 0) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_batching(get(), name.c_str(), version, buf, len, needed);
        });
    }

    /// Records a sample of the requests to `name` in a new file at `path`.
    void record(const std::string &name, const std::string &path,
                const modelserve_record_options *options = nullptr) {
        detail::check(modelserve_manager_record(get(), name.c_str(), path.c_str(), options));
    }

    /// How the recording of `name` stands.
    modelserve_recording recording(const std::string &name) const {
        modelserve_recording recording;
        detail::check(modelserve_manager_recording(get(), name.c_str(), &recording));
        return recording;
    }

    /// Ends the recording of `name`; answers how it stood.
    modelserve_recording stop_recording(const std::string &name) {
        modelserve_recording recording;
        detail::check(modelserve_manager_stop_recording(get(), name.c_str(), &recording));
        return recording;
    }

    /// Puts the requests recorded in the file at `path` to a version of `name` (0: the serving
    /// one) and compares the answers with the recorded ones.
    modelserve_replay_report replay(const std::string &name, const std::string &path,
                                    const modelserve_replay_options *options = nullptr,
                                    std::uint64_t version = 0) const {
        modelserve_replay_report report;
        detail::check(modelserve_manager_replay(get(), name.c_str(), version, path.c_str(),
                                                options, &report));
        return report;
    }

    /// Events that callbacks were too slow for.
    std::uint64_t events_dropped() const {
        std::uint64_t dropped = 0;
        detail::check(modelserve_manager_events_dropped(get(), &dropped));
        return dropped;
    }

    /// How long the manager has existed.
    std::chrono::nanoseconds uptime() const {
        std::uint64_t nanoseconds = 0;
        detail::check(modelserve_manager_uptime(get(), &nanoseconds));
        return std::chrono::nanoseconds(nanoseconds);
    }

    /// All counters in the format `format`, one of MODELSERVE_METRICS_*.
    std::string metrics(std::int32_t format) const {
        return detail::text([&, this](char *buf, std::size_t len, std::size_t *needed) {
            return modelserve_manager_metrics_as(get(), format, buf, len, needed);
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

/// How many records the present function of the log was too slow for.
inline std::uint64_t log_dropped() noexcept { return modelserve_log_dropped(); }

/// What a model file holds, as JSON, whether or not it can be loaded; see modelserve_inspect_json.
inline std::string inspect_json(const std::string &path,
                                const modelserve_load_options *options = nullptr) {
    // The file is looked at in every call: room that is enough at once for most.
    const auto call = [&](char *buf, std::size_t len, std::size_t *needed) {
        return modelserve_inspect_json(path.c_str(), options, buf, len, needed);
    };
    return detail::text(call, 1 << 16);
}

/// The same of the bytes of a model file.
inline std::string inspect_json(const void *bytes, std::size_t size,
                                const modelserve_load_options *options = nullptr) {
    const auto call = [&](char *buf, std::size_t len, std::size_t *needed) {
        return modelserve_inspect_bytes_json(static_cast<const std::uint8_t *>(bytes), size, options,
                                             buf, len, needed);
    };
    return detail::text(call, 1 << 16);
}

/// A report of a replay as JSON.
inline std::string to_json(const modelserve_replay_report &report) {
    return detail::text([&](char *buf, std::size_t len, std::size_t *needed) {
        return modelserve_replay_report_json(&report, buf, len, needed);
    });
}

/// Waits until every record so far was handed over; fails with
/// MODELSERVE_STATUS_DEADLINE_EXCEEDED.
inline void flush_log(std::uint64_t timeout_ns) { detail::check(modelserve_log_flush(timeout_ns)); }

} // namespace modelserve

#endif // MODELSERVE_HPP
