// modelserve for C++17: owning, move-only wrappers of modelserve.h. Header-only.
//
// Every failure is a modelserve::Error. Objects may be used from several threads at once, as the
// handles beneath may; moving or destroying one is for a single thread.
#ifndef MODELSERVE_HPP
#define MODELSERVE_HPP

#include "modelserve.h"

#include <cstddef>
#include <cstdint>
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

/// Options with the defaults set.
inline modelserve_load_options load_options() {
    modelserve_load_options options;
    detail::check(modelserve_load_options_init(&options));
    return options;
}

/// The answers for a batch of rows, as columns.
struct Batch {
    /// One label a row (a class's index for text labels); empty where the answers are numbers.
    std::vector<std::int64_t> labels;
    /// `info.n_scores` numbers a row, row-major.
    std::vector<double> scores;
    /// What the rows have in common.
    modelserve_batch info{};
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

    /// Predicts `n_rows` rows; `row_stride` is in bytes, 0 for rows without gaps.
    Batch predict_batch(const float *rows, std::size_t n_rows, std::size_t width,
                        std::ptrdiff_t row_stride = 0) const {
        Batch batch;
        // How many numbers a row has is known after the first row: ask that before all of them.
        modelserve_batch shape;
        if (n_rows > 0) {
            detail::check(modelserve_predict_batch(get(), rows, 1, width, 0, nullptr, 0, nullptr,
                                                   0, &shape));
            batch.labels.resize(product(n_rows, shape.n_labels));
            batch.scores.resize(product(n_rows, shape.n_scores));
        }
        detail::check(modelserve_predict_batch(
            get(), rows, n_rows, width, row_stride, batch.labels.data(), batch.labels.size(),
            batch.scores.data(), batch.scores.size(), &batch.info));
        return batch;
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
    static std::size_t product(std::size_t rows, std::size_t width) {
        if (width != 0 && rows > SIZE_MAX / width) {
            throw std::length_error("modelserve: the answers pass the address space");
        }
        return rows * width;
    }

    detail::Owned<modelserve_model, modelserve_model_free> handle_;
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

    /// The handle, still owned by this.
    modelserve_manager get() const noexcept { return handle_.get(); }

private:
    using Owned = detail::Owned<modelserve_manager, modelserve_manager_free>;
    Owned handle_;
};

} // namespace modelserve

#endif // MODELSERVE_HPP
