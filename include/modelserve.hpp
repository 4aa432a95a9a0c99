/// @file modelserve.hpp
/// modelserve for C++17: owning, move-only wrappers of modelserve.h. Header-only.
///
/// **Errors.** A call that fails throws modelserve::Error. Where MODELSERVE_NO_EXCEPTIONS is defined
/// before this header is included, or the compiler has exceptions off, nothing is thrown and a call
/// gives a modelserve::Result: a value or an Error. `Answer<T>` in the declarations is `T` or
/// `Result<T>` accordingly. With exceptions on, modelserve::attempt makes a Result of any one call.
/// A program may be linked from files of either kind: their classes are different ones.
///
/// **Threads.** Objects may be used from several threads at once, as the handles beneath may; moving
/// or destroying one is for a single thread.
///
/// **Callbacks** may throw: see modelserve::set_on_thrown.
///
/// What a function does, takes and refuses is said in full where the C interface has it, whose
/// functions have the same names.
#ifndef MODELSERVE_HPP
#define MODELSERVE_HPP

#include "modelserve.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if !defined(MODELSERVE_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
/// Defined by a program that wants results instead of exceptions.
#define MODELSERVE_NO_EXCEPTIONS
#endif

/// \cond
#ifdef MODELSERVE_NO_EXCEPTIONS
#define MODELSERVE_ERRORS_ results
#define MODELSERVE_FAIL_(error) return (error)
#define MODELSERVE_DO_(...)                                                                        \
    do {                                                                                           \
        auto done_ = (__VA_ARGS__);                                                                \
        if (!done_) {                                                                              \
            return std::move(done_).error();                                                       \
        }                                                                                          \
    } while (0)
#define MODELSERVE_LET_(name, ...)                                                                 \
    auto name##_answer_ = (__VA_ARGS__);                                                           \
    if (!name##_answer_) {                                                                         \
        return std::move(name##_answer_).error();                                                  \
    }                                                                                              \
    auto name = *std::move(name##_answer_)
#else
#define MODELSERVE_ERRORS_ exceptions
#define MODELSERVE_FAIL_(error) throw(error)
#define MODELSERVE_DO_(...) (__VA_ARGS__)
#define MODELSERVE_LET_(name, ...) auto name = (__VA_ARGS__)
#endif
#define MODELSERVE_TRY_(...)                                                                       \
    do {                                                                                           \
        const modelserve_status status_ = (__VA_ARGS__);                                           \
        if (status_ != MODELSERVE_STATUS_OK) {                                                     \
            MODELSERVE_FAIL_(::modelserve::detail::last_error(status_));                           \
        }                                                                                          \
    } while (0)
/// \endcond

/// The C++ interface of modelserve.
namespace modelserve {
inline namespace MODELSERVE_ERRORS_ {

/// Why a call failed: `what()` is for people, `status()` for branching.
class Error : public std::runtime_error {
public:
    /// An error of that status and message.
    Error(modelserve_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {}

    /// One of MODELSERVE_STATUS_*.
    modelserve_status status() const noexcept { return status_; }

private:
    modelserve_status status_;
};

/// \cond
namespace detail {

/// Leaves by an error that nobody has looked at.
[[noreturn]] inline void raise(const Error &error) {
#ifdef MODELSERVE_NO_EXCEPTIONS
    std::fprintf(stderr, "modelserve: a result without a value was read: %s\n", error.what());
    std::abort();
#else
    throw error;
#endif
}

} // namespace detail
/// \endcond

/// What a call gave: a value, or the error that it failed with. Has the names of C++23's
/// `std::expected`.
template <typename T> class [[nodiscard]] Result {
public:
    /// A success.
    Result(T &&value) : state_(std::in_place_index<0>, std::move(value)) {}
    /// A success.
    Result(const T &value) : state_(std::in_place_index<0>, value) {}
    /// A failure.
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    /// Whether there is a value.
    bool has_value() const noexcept { return state_.index() == 0; }
    /// Whether there is a value.
    explicit operator bool() const noexcept { return has_value(); }

    /// The value. Without one the error is thrown, or, without exceptions, the program ends.
    T &value() & {
        check();
        return *std::get_if<0>(&state_);
    }
    /// The value, as above.
    const T &value() const & {
        check();
        return *std::get_if<0>(&state_);
    }
    /// The value, as above.
    T &&value() && {
        check();
        return std::move(*std::get_if<0>(&state_));
    }
    /// The value, as `value()`.
    T &operator*() & { return value(); }
    /// The value, as `value()`.
    const T &operator*() const & { return value(); }
    /// The value, as `value()`.
    T &&operator*() && { return std::move(*this).value(); }
    /// The value, as `value()`.
    T *operator->() { return &value(); }
    /// The value, as `value()`.
    const T *operator->() const { return &value(); }
    /// The value, or `otherwise`.
    T value_or(T otherwise) && {
        return has_value() ? std::move(*std::get_if<0>(&state_)) : std::move(otherwise);
    }

    /// The error. There has to be one.
    const Error &error() const & { return *std::get_if<1>(&state_); }
    /// The error. There has to be one.
    Error &&error() && { return std::move(*std::get_if<1>(&state_)); }

private:
    void check() const {
        if (!has_value()) {
            detail::raise(*std::get_if<1>(&state_));
        }
    }

    std::variant<T, Error> state_;
};

/// Whether a call succeeded.
template <> class [[nodiscard]] Result<void> {
public:
    /// A success.
    Result() noexcept = default;
    /// A failure.
    Result(Error error) : error_(std::move(error)) {}

    /// Whether it succeeded.
    bool has_value() const noexcept { return !error_.has_value(); }
    /// Whether it succeeded.
    explicit operator bool() const noexcept { return has_value(); }
    /// Nothing. After a failure the error is thrown, or, without exceptions, the program ends.
    void value() const {
        if (error_.has_value()) {
            detail::raise(*error_);
        }
    }
    /// The error. There has to be one.
    const Error &error() const & { return *error_; }
    /// The error. There has to be one.
    Error &&error() && { return std::move(*error_); }

private:
    std::optional<Error> error_;
};

#ifdef MODELSERVE_NO_EXCEPTIONS
/// What a call gives: `T`, where errors are thrown, or a `Result<T>`.
template <typename T> using Answer = Result<T>;

/// What `call` gives: a result already.
template <typename Call> auto attempt(Call &&call) { return std::forward<Call>(call)(); }
#else
/// What a call gives: `T`, where errors are thrown, or a `Result<T>`.
template <typename T> using Answer = T;

/// What `call` gives, or the Error that it throws, as a result. Other exceptions pass.
template <typename Call> auto attempt(Call &&call) {
    using T = std::decay_t<decltype(std::forward<Call>(call)())>;
    try {
        if constexpr (std::is_void<T>::value) {
            std::forward<Call>(call)();
            return Result<void>();
        } else {
            return Result<T>(std::forward<Call>(call)());
        }
    } catch (const Error &error) {
        return Result<T>(error);
    }
}
#endif

/// What a submitted request will have come to.
template <typename T> using Future = std::future<Answer<T>>;

/// \cond
namespace detail {

/// The failure of the last call on this thread.
inline Error last_error(modelserve_status status) {
    std::string message(modelserve_last_error(nullptr, 0), '\0');
    // A std::string has room for the NUL behind its last character.
    modelserve_last_error(&message[0], message.size() + 1);
    return Error(status, message);
}

inline Answer<void> done(modelserve_status status) {
    MODELSERVE_TRY_(status);
    return Answer<void>();
}

/// The text that `call(buf, len, &needed)` gives, however often it grows meanwhile; `first` is
/// the room that is tried first.
template <typename Call> Answer<std::string> text(Call call, std::size_t first = 256) {
    std::string text(first, '\0');
    for (;;) {
        std::size_t needed = 0;
        const modelserve_status status = call(&text[0], text.size() + 1, &needed);
        if (status == MODELSERVE_STATUS_OK) {
            text.resize(needed);
            return text;
        }
        if (status != MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
            MODELSERVE_FAIL_(last_error(status));
        }
        text.resize(needed);
    }
}

/// The text of a function of the C interface whose arguments begin with `args`.
template <typename Function, typename... Args>
Answer<std::string> text_of(Function function, const Args &...args) {
    return text([&](char *buf, std::size_t len, std::size_t *needed) {
        return function(args..., buf, len, needed);
    });
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

/// A function of the caller's behind the C interface's `user_data`.
template <typename Function> struct Callback {
    Function function;

    static void release(void *data) noexcept { delete static_cast<Callback *>(data); }
};

/// The element type of `T`.
template <typename T> constexpr std::int32_t dtype_of() {
    static_assert(std::is_arithmetic<T>::value, "a number or bool");
    if constexpr (std::is_same<T, bool>::value) {
        static_assert(sizeof(bool) == 1, "bools of a byte; std::uint8_t otherwise");
        return MODELSERVE_DTYPE_BOOL;
    } else if constexpr (std::is_floating_point<T>::value) {
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
    pointers.reserve(texts.size());
    for (const std::string &text : texts) {
        pointers.push_back(text.c_str());
    }
    return pointers;
}

inline const std::uint8_t *bytes_of(const void *bytes) noexcept {
    return static_cast<const std::uint8_t *>(bytes);
}

/// Chooses a template for rows of doubles: nullptr stays a pointer to floats.
template <typename T> using if_double = std::enable_if_t<std::is_same<T, double>::value, int>;

/// Chooses a constructor for what has `data()` and `size()`, or is an array, of elements that a
/// `T *` can point to. What is about to go is only for reading.
template <typename C, typename T>
using if_elements = std::enable_if_t<
    std::is_convertible<
        std::remove_pointer_t<decltype(std::data(std::declval<C &>()))> (*)[], T (*)[]>::value &&
        std::is_convertible<decltype(std::size(std::declval<C &>())), std::size_t>::value &&
        (std::is_lvalue_reference<C>::value || std::is_const<T>::value),
    int>;

template <typename Options, modelserve_status (*Init)(Options *, std::size_t)>
Options initialised() noexcept {
    Options options;
    // It fails without a pointer, or with a size that no header has.
    static_cast<void>(Init(&options, sizeof(options)));
    return options;
}

/// Runs what allocates; whether it could.
template <typename Call> bool did(Call call) noexcept {
#ifdef MODELSERVE_NO_EXCEPTIONS
    call();
    return true;
#else
    try {
        call();
        return true;
    } catch (...) {
        return false;
    }
#endif
}

} // namespace detail
/// \endcond

#ifndef MODELSERVE_NO_EXCEPTIONS
/// Given what a callback threw, on the thread that it threw on.
using OnThrown = std::function<void(std::exception_ptr)>;

/// \cond
namespace detail {

struct Thrown {
    std::mutex mutex;
    OnThrown handler;
    std::exception_ptr first;
    std::uint64_t count = 0;
};

/// Never destroyed: threads of the library may outlive the objects of the program.
inline Thrown &thrown() {
    static Thrown &thrown = *new Thrown;
    return thrown;
}

/// Hands on the exception that is being handled.
inline void hand_on() noexcept {
    try {
        OnThrown handler;
        {
            const std::lock_guard<std::mutex> lock(thrown().mutex);
            thrown().count++;
            handler = thrown().handler;
            if (!handler && !thrown().first) {
                thrown().first = std::current_exception();
            }
        }
        if (handler) {
            handler(std::current_exception());
        }
    } catch (...) {
        // The handler threw: nobody is left to be told.
    }
}

} // namespace detail
/// \endcond

/// Sets what is given the exceptions that callbacks throw, in this program or library, in place of
/// the one before. An exception ends at the callback in any case: none passes through the library.
/// Without a handler (an empty one) the first is kept for `take_thrown`.
inline void set_on_thrown(OnThrown handler) {
    const std::lock_guard<std::mutex> lock(detail::thrown().mutex);
    detail::thrown().handler = std::move(handler);
}

/// Takes the first exception that a callback threw while there was no handler; null without one.
inline std::exception_ptr take_thrown() {
    const std::lock_guard<std::mutex> lock(detail::thrown().mutex);
    return std::exchange(detail::thrown().first, nullptr);
}

/// How many exceptions callbacks have thrown.
inline std::uint64_t thrown_count() {
    const std::lock_guard<std::mutex> lock(detail::thrown().mutex);
    return detail::thrown().count;
}
#endif

/// \cond
namespace detail {

/// Runs a callback of the caller's, from which nothing leaves.
template <typename Call> void contained(Call call) noexcept {
#ifdef MODELSERVE_NO_EXCEPTIONS
    call();
#else
    try {
        call();
    } catch (...) {
        hand_on();
    }
#endif
}

} // namespace detail
/// \endcond

/// Elements that somebody else owns, side by side. Made from anything that has `data()` and
/// `size()` (`std::vector`, `std::array`, `std::span`), from an array, and from a pointer and a
/// number. Lives no longer than what it was made from.
template <typename T> class Span {
public:
    /// No elements.
    constexpr Span() noexcept = default;
    /// `size` elements from `data` on.
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// The elements of `elements`.
    template <typename C, detail::if_elements<C, T> = 0>
    constexpr Span(C &&elements) noexcept
        : data_(std::data(elements)), size_(std::size(elements)) {}

    /// The first one; anything where there are none.
    constexpr T *data() const noexcept { return data_; }
    /// How many there are.
    constexpr std::size_t size() const noexcept { return size_; }
    /// Whether there are none.
    constexpr bool empty() const noexcept { return size_ == 0; }
    /// For loops.
    constexpr T *begin() const noexcept { return data_; }
    /// For loops.
    constexpr T *end() const noexcept { return data_ + size_; }
    /// Element `index`, which has to be there.
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Rows of numbers that somebody else owns.
template <typename T> struct Rows {
    /// `n_rows` rows of `width` numbers from `data` on, `row_stride` bytes apart (0: without gaps).
    Rows(const T *data, std::size_t n_rows, std::size_t width,
         std::ptrdiff_t row_stride = 0) noexcept
        : data(data), n_rows(n_rows), width(width), row_stride(row_stride) {}

    /// The first row.
    const T *data;
    /// How many rows there are.
    std::size_t n_rows;
    /// Numbers of a row, which lie side by side.
    std::size_t width;
    /// Bytes from a row to the next, which may be negative; 0: without gaps.
    std::ptrdiff_t row_stride;
};

/// Options with the defaults set.
inline modelserve_load_options load_options() noexcept {
    return detail::initialised<modelserve_load_options, modelserve_load_options_init>();
}
/// Options with the defaults set.
inline modelserve_reload_options reload_options() noexcept {
    return detail::initialised<modelserve_reload_options, modelserve_reload_options_init>();
}
/// Options with the defaults set.
inline modelserve_gate_options gate_options() noexcept {
    return detail::initialised<modelserve_gate_options, modelserve_gate_options_init>();
}
/// Options with the defaults set.
inline modelserve_request_options request_options() noexcept {
    return detail::initialised<modelserve_request_options, modelserve_request_options_init>();
}
/// Options with the defaults set.
inline modelserve_manager_options manager_options() noexcept {
    return detail::initialised<modelserve_manager_options, modelserve_manager_options_init>();
}
/// Options with the defaults set.
inline modelserve_repository_options repository_options() noexcept {
    return detail::initialised<modelserve_repository_options,
                               modelserve_repository_options_init>();
}
/// Options with the defaults set.
inline modelserve_record_options record_options() noexcept {
    return detail::initialised<modelserve_record_options, modelserve_record_options_init>();
}
/// Options with the defaults set.
inline modelserve_replay_options replay_options() noexcept {
    return detail::initialised<modelserve_replay_options, modelserve_replay_options_init>();
}
/// Options with the defaults set.
inline modelserve_http_options http_options() noexcept {
    return detail::initialised<modelserve_http_options, modelserve_http_options_init>();
}
/// A layout with the defaults set.
inline modelserve_layout layout() noexcept {
    return detail::initialised<modelserve_layout, modelserve_layout_init>();
}

/// A prediction and how it came about.
struct Prediction : modelserve_prediction {
    /// How it came about.
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
    Answer<void> cancel() const { return detail::done(modelserve_request_cancel(get())); }

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
    /// All three have to be there.
    double value(std::size_t row, std::size_t feature, std::size_t target = 0) const {
        return values[(row * info.n_targets + target) * (info.n_features + 1) + feature];
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

/// What a model says of one of its inputs or outputs.
struct Spec : modelserve_spec {
    /// Its name.
    std::string name;
};

/// A DLPack tensor that is owned: its deleter is called once, when this is destroyed. `Managed` is
/// one of the two structs of modelserve.h.
template <typename Managed> class BasicDlTensor {
public:
    /// Owns nothing.
    BasicDlTensor() noexcept = default;
    /// Takes over a tensor of this library or of another one: `Managed`, or the struct of dlpack.h
    /// that it stands for.
    template <typename Other> explicit BasicDlTensor(Other *managed) noexcept
        : managed_(reinterpret_cast<Managed *>(managed)) {
        static_assert(sizeof(Other) == sizeof(Managed), "not the struct of that version");
    }
    /// Takes what the other owns.
    BasicDlTensor(BasicDlTensor &&other) noexcept
        : managed_(std::exchange(other.managed_, nullptr)) {}
    /// Gives up what it owned for what the other owns.
    BasicDlTensor &operator=(BasicDlTensor &&other) noexcept {
        if (this != &other) {
            free();
            managed_ = std::exchange(other.managed_, nullptr);
        }
        return *this;
    }
    BasicDlTensor(const BasicDlTensor &) = delete;
    BasicDlTensor &operator=(const BasicDlTensor &) = delete;
    ~BasicDlTensor() { free(); }

    /// The struct, still owned by this; null where it owns nothing.
    Managed *get() const noexcept { return managed_; }

    /// Hands the struct to somebody else, as the type that they call it by.
    template <typename Other = Managed> Other *release() noexcept {
        static_assert(sizeof(Other) == sizeof(Managed), "not the struct of that version");
        return reinterpret_cast<Other *>(std::exchange(managed_, nullptr));
    }

private:
    void free() noexcept {
        if (managed_ != nullptr && managed_->deleter != nullptr) {
            managed_->deleter(managed_);
        }
    }

    Managed *managed_ = nullptr;
};

/// A tensor as DLPack has it at present.
using DlTensor = BasicDlTensor<modelserve_dl_managed_versioned>;
/// A tensor as DLPack had it before.
using DlTensorLegacy = BasicDlTensor<modelserve_dl_managed>;

/// Named tensors in the caller's memory, for `Model::run` and `Model::predict_columns`. What it
/// was given has to live as long as it is used: nothing but names and shapes is copied.
class Inputs {
public:
    /// No tensors.
    Inputs() = default;
    /// Takes what the other has.
    Inputs(Inputs &&) noexcept = default;
    /// Takes what the other has.
    Inputs &operator=(Inputs &&) noexcept = default;
    Inputs(const Inputs &) = delete;
    Inputs &operator=(const Inputs &) = delete;

    /// Adds numbers, of which the first is at `data`, with as many `strides` (in bytes) as `dims`,
    /// or none: row-major without gaps.
    template <typename T>
    Answer<void> add(std::string name, const T *data, std::vector<std::int64_t> dims,
                     std::vector<std::ptrdiff_t> strides = {}) {
        return add(std::move(name), static_cast<const void *>(data), detail::dtype_of<T>(),
                   std::move(dims), std::move(strides));
    }

    /// Adds elements of the type `dtype`, one of MODELSERVE_DTYPE_*.
    Answer<void> add(std::string name, const void *data, std::int32_t dtype,
                     std::vector<std::int64_t> dims, std::vector<std::ptrdiff_t> strides = {}) {
        if (!strides.empty() && strides.size() != dims.size()) {
            MODELSERVE_FAIL_(Error(MODELSERVE_STATUS_INVALID_ARGUMENT,
                                   "modelserve: there are not as many strides as dimensions"));
        }
        Part &part = added(std::move(name));
        part.dims = std::move(dims);
        part.strides = std::move(strides);
        tensors_.push_back(part.tensor(data, dtype));
        return Answer<void>();
    }

    /// Adds texts, without NULs inside; without `dims` they are one dimension.
    Answer<void> add(std::string name, const std::vector<std::string> &texts,
                     std::vector<std::int64_t> dims = {}) {
        std::size_t count = 1;
        bool fits = true;
        for (const std::int64_t dim : dims) {
            const std::size_t size = dim < 0 ? 0 : static_cast<std::size_t>(dim);
            fits = fits && dim >= 0 && (size == 0 || count <= SIZE_MAX / size);
            count *= size;
        }
        if (!dims.empty() && (!fits || count != texts.size())) {
            MODELSERVE_FAIL_(Error(MODELSERVE_STATUS_INVALID_ARGUMENT,
                                   "modelserve: the dimensions are not those of the texts"));
        }
        Part &part = added(std::move(name));
        part.texts = detail::pointers(texts);
        part.dims = std::move(dims);
        if (part.dims.empty()) {
            part.dims.push_back(static_cast<std::int64_t>(texts.size()));
        }
        tensors_.push_back(part.tensor(part.texts.data(), MODELSERVE_DTYPE_STRING));
        return Answer<void>();
    }

    /// Adds a DLPack tensor, which stays its owner's.
    Answer<void> add(std::string name, const DlTensor &tensor) {
        return add_dlpack(std::move(name), tensor.get(), modelserve_tensor_from_dlpack);
    }
    /// Adds a DLPack tensor, which stays its owner's.
    Answer<void> add(std::string name, const DlTensorLegacy &tensor) {
        return add_dlpack(std::move(name), tensor.get(), modelserve_tensor_from_dlpack_legacy);
    }

    /// The tensors, as the C interface takes them.
    const modelserve_tensor *data() const noexcept { return tensors_.data(); }
    /// How many there are.
    std::size_t size() const noexcept { return tensors_.size(); }

private:
    struct Part {
        std::string name;
        std::vector<std::int64_t> dims;
        std::vector<std::ptrdiff_t> strides;
        std::vector<const char *> texts;

        modelserve_tensor tensor(const void *data, std::int32_t dtype) const noexcept {
            modelserve_tensor tensor{};
            tensor.name = name.c_str();
            tensor.data = data;
            tensor.dims = dims.data();
            tensor.strides = strides.empty() ? nullptr : strides.data();
            tensor.rank = dims.size();
            tensor.dtype = dtype;
            return tensor;
        }
    };

    Part &added(std::string name) {
        parts_.push_back(std::make_unique<Part>());
        parts_.back()->name = std::move(name);
        return *parts_.back();
    }

    template <typename Managed, typename View>
    Answer<void> add_dlpack(std::string name, const Managed *managed, View view) {
        Part &part = added(std::move(name));
        part.strides.resize(MODELSERVE_MAX_RANK);
        modelserve_tensor tensor{};
        MODELSERVE_TRY_(view(managed, part.name.c_str(), part.strides.data(), part.strides.size(),
                             &tensor));
        tensors_.push_back(tensor);
        return Answer<void>();
    }

    /// Each in a place of its own, where it stays when more are added.
    std::vector<std::unique_ptr<Part>> parts_;
    std::vector<modelserve_tensor> tensors_;
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
    Answer<std::size_t> count() const {
        std::size_t count = 0;
        MODELSERVE_TRY_(modelserve_outputs_count(get(), &count));
        return count;
    }

    /// The name of output `index`.
    Answer<std::string> name(std::size_t index) const {
        return detail::text_of(modelserve_outputs_name, get(), index);
    }

    /// The index of the output of that name; MODELSERVE_STATUS_NOT_FOUND without one.
    Answer<std::size_t> index(const std::string &name) const {
        MODELSERVE_LET_(all, count());
        for (std::size_t i = 0; i < all; i++) {
            MODELSERVE_LET_(other, this->name(i));
            if (other == name) {
                return i;
            }
        }
        MODELSERVE_FAIL_(
            Error(MODELSERVE_STATUS_NOT_FOUND, "modelserve: no output '" + name + "'"));
    }

    /// The element type of output `index`: MODELSERVE_DTYPE_*.
    Answer<std::int32_t> dtype(std::size_t index) const {
        std::int32_t dtype = 0;
        MODELSERVE_TRY_(modelserve_outputs_dtype(get(), index, &dtype));
        return dtype;
    }

    /// The dimensions of output `index`.
    Answer<std::vector<std::int64_t>> dims(std::size_t index) const {
        std::size_t rank = 0;
        MODELSERVE_TRY_(modelserve_outputs_dims(get(), index, nullptr, 0, &rank));
        std::vector<std::int64_t> dims(rank);
        MODELSERVE_TRY_(modelserve_outputs_dims(get(), index, dims.data(), dims.size(), &rank));
        return dims;
    }

    /// The elements of output `index`, row-major, where they are of the type `T`: a number of
    /// fixed size, or `std::uint8_t` for bools. Another type is
    /// MODELSERVE_STATUS_INVALID_ARGUMENT.
    template <typename T> Answer<std::vector<T>> data(std::size_t index) const {
        static_assert(!std::is_same<T, bool>::value, "std::uint8_t for bools");
        MODELSERVE_DO_(check_type<T>(index));
        std::size_t needed = 0;
        MODELSERVE_TRY_(modelserve_outputs_data(get(), index, nullptr, 0, &needed));
        std::vector<T> data(needed / sizeof(T));
        MODELSERVE_TRY_(modelserve_outputs_data(get(), index, data.data(), needed, &needed));
        return data;
    }

    /// The elements of output `index` into memory of the caller's; answers how many there are.
    /// MODELSERVE_STATUS_BUFFER_TOO_SMALL where it has no room.
    template <typename T> Answer<std::size_t> read(std::size_t index, Span<T> into) const {
        MODELSERVE_DO_(check_type<T>(index));
        std::size_t needed = 0;
        MODELSERVE_TRY_(modelserve_outputs_data(get(), index, nullptr, 0, &needed));
        if (needed > into.size() * sizeof(T)) {
            MODELSERVE_FAIL_(Error(MODELSERVE_STATUS_BUFFER_TOO_SMALL,
                                   "modelserve: there is no room for the output"));
        }
        MODELSERVE_TRY_(modelserve_outputs_data(get(), index, into.data(),
                                                into.size() * sizeof(T), &needed));
        return needed / sizeof(T);
    }

    /// Element `element` of output `index`, which is of strings.
    Answer<std::string> string(std::size_t index, std::size_t element) const {
        return detail::text_of(modelserve_outputs_string, get(), index, element);
    }

    /// All elements of output `index`, which is of strings, row-major.
    Answer<std::vector<std::string>> strings(std::size_t index) const {
        MODELSERVE_LET_(all, dims(index));
        std::int64_t count = 1;
        for (const std::int64_t dim : all) {
            count *= dim;
        }
        std::vector<std::string> texts;
        for (std::int64_t i = 0; i < count; i++) {
            MODELSERVE_LET_(text, string(index, static_cast<std::size_t>(i)));
            texts.push_back(std::move(text));
        }
        return texts;
    }

    /// Output `index`, whatever it is, as JSON.
    Answer<std::string> json(std::size_t index) const {
        return detail::text_of(modelserve_outputs_json, get(), index);
    }

    /// Output `index` as a DLPack tensor that outlives this: shared and only to be read, or, with
    /// `copy`, the caller's own.
    Answer<DlTensor> dlpack(std::size_t index, bool copy = false) const {
        modelserve_dl_managed_versioned *managed = nullptr;
        MODELSERVE_TRY_(modelserve_outputs_dlpack(get(), index, copy ? 1 : 0, &managed));
        return DlTensor(managed);
    }

    /// A copy of output `index` as a DLPack tensor of the older kind.
    Answer<DlTensorLegacy> dlpack_legacy(std::size_t index) const {
        modelserve_dl_managed *managed = nullptr;
        MODELSERVE_TRY_(modelserve_outputs_dlpack_legacy(get(), index, &managed));
        return DlTensorLegacy(managed);
    }

    /// The handle, still owned by this.
    modelserve_outputs get() const noexcept { return handle_.get(); }

    /// How the outputs came about.
    modelserve_receipt receipt{};

private:
    template <typename T> Answer<void> check_type(std::size_t index) const {
        MODELSERVE_LET_(has, dtype(index));
        const bool bools = has == MODELSERVE_DTYPE_BOOL && std::is_same<T, std::uint8_t>::value;
        if (has != detail::dtype_of<T>() && !bools) {
            MODELSERVE_FAIL_(
                Error(MODELSERVE_STATUS_INVALID_ARGUMENT,
                      "modelserve: an output is read as another element type than its own"));
        }
        return Answer<void>();
    }

    detail::Owned<modelserve_outputs, modelserve_outputs_free> handle_;
};

/// Told what a submitted prediction came to: MODELSERVE_STATUS_OK with a prediction, or another
/// status with nullptr and a message. On a thread of the library, or on the submitting one where
/// no model has to run. What it throws goes the way of `set_on_thrown`.
using OnPrediction =
    std::function<void(modelserve_status, const Prediction *, const std::string &)>;
/// Told what a submitted batch came to, as `OnPrediction`.
using OnBatch = std::function<void(modelserve_status, const Batch *, const std::string &)>;
/// Told what a submitted run came to: MODELSERVE_STATUS_OK with its outputs, or another status
/// with nullptr and a message. The outputs may be moved from. Otherwise as `OnPrediction`.
using OnOutputs = std::function<void(modelserve_status, Outputs *, const std::string &)>;
/// Told of an event, on a thread of its own. What it throws goes the way of `set_on_thrown`.
using OnEvent = std::function<void(const modelserve_event &)>;
/// Told of a record of the log, on a thread of its own. What it throws goes the way of
/// `set_on_thrown`.
using OnLog = std::function<void(const modelserve_log_record &)>;

/// \cond
namespace detail {

// One name for floats and doubles.

inline modelserve_status predict(modelserve_model model, const float *row, std::size_t width,
                                 modelserve_prediction *prediction) noexcept {
    return modelserve_predict(model, row, width, prediction);
}
inline modelserve_status predict(modelserve_model model, const double *row, std::size_t width,
                                 modelserve_prediction *prediction) noexcept {
    return modelserve_predict_f64(model, row, width, prediction);
}
inline modelserve_status predict(modelserve_model model, const float *row, std::size_t width,
                                 const modelserve_request_options *options,
                                 Prediction *prediction) noexcept {
    return modelserve_predict_with(model, row, width, options, prediction, &prediction->receipt);
}
inline modelserve_status predict(modelserve_model model, const double *row, std::size_t width,
                                 const modelserve_request_options *options,
                                 Prediction *prediction) noexcept {
    return modelserve_predict_with_f64(model, row, width, options, prediction,
                                       &prediction->receipt);
}
inline modelserve_status predict(modelserve_model model, const float *row, std::size_t width,
                                 Span<double> scores, modelserve_prediction *prediction) noexcept {
    return modelserve_predict_scores(model, row, width, scores.data(), scores.size(), prediction);
}
inline modelserve_status predict(modelserve_model model, const double *row, std::size_t width,
                                 Span<double> scores, modelserve_prediction *prediction) noexcept {
    return modelserve_predict_scores_f64(model, row, width, scores.data(), scores.size(),
                                         prediction);
}
inline modelserve_status predict(modelserve_model model, Rows<float> rows,
                                 const modelserve_request_options *options,
                                 Span<std::int64_t> labels, Span<double> scores,
                                 modelserve_batch *batch, modelserve_receipt *receipt) noexcept {
    return modelserve_predict_batch_with(model, rows.data, rows.n_rows, rows.width,
                                         rows.row_stride, options, labels.data(), labels.size(),
                                         scores.data(), scores.size(), batch, receipt);
}
inline modelserve_status predict(modelserve_model model, Rows<double> rows,
                                 const modelserve_request_options *options,
                                 Span<std::int64_t> labels, Span<double> scores,
                                 modelserve_batch *batch, modelserve_receipt *receipt) noexcept {
    return modelserve_predict_batch_with_f64(model, rows.data, rows.n_rows, rows.width,
                                             rows.row_stride, options, labels.data(),
                                             labels.size(), scores.data(), scores.size(), batch,
                                             receipt);
}
inline modelserve_status explain(modelserve_model model, Rows<float> rows, Span<double> values,
                                 modelserve_explanation *explanation) noexcept {
    return modelserve_explain(model, rows.data, rows.n_rows, rows.width, rows.row_stride,
                              values.data(), values.size(), explanation);
}
inline modelserve_status explain(modelserve_model model, Rows<double> rows, Span<double> values,
                                 modelserve_explanation *explanation) noexcept {
    return modelserve_explain_f64(model, rows.data, rows.n_rows, rows.width, rows.row_stride,
                                  values.data(), values.size(), explanation);
}
inline modelserve_status apply(modelserve_model model, Rows<float> rows,
                               Span<std::uint32_t> leaves, std::size_t *trees) noexcept {
    return modelserve_apply(model, rows.data, rows.n_rows, rows.width, rows.row_stride,
                            leaves.data(), leaves.size(), trees);
}
inline modelserve_status apply(modelserve_model model, Rows<double> rows,
                               Span<std::uint32_t> leaves, std::size_t *trees) noexcept {
    return modelserve_apply_f64(model, rows.data, rows.n_rows, rows.width, rows.row_stride,
                                leaves.data(), leaves.size(), trees);
}
inline modelserve_status submit(modelserve_model model, Span<const float> row,
                                const modelserve_request_options *options,
                                modelserve_predict_callback callback, void *data,
                                modelserve_request *request) noexcept {
    return modelserve_predict_submit(model, row.data(), row.size(), options, callback, data,
                                     request);
}
inline modelserve_status submit(modelserve_model model, Span<const double> row,
                                const modelserve_request_options *options,
                                modelserve_predict_callback callback, void *data,
                                modelserve_request *request) noexcept {
    return modelserve_predict_submit_f64(model, row.data(), row.size(), options, callback, data,
                                         request);
}
inline modelserve_status submit(modelserve_model model, Rows<float> rows,
                                const modelserve_request_options *options,
                                modelserve_batch_callback callback, void *data,
                                modelserve_request *request) noexcept {
    return modelserve_predict_batch_submit(model, rows.data, rows.n_rows, rows.width,
                                           rows.row_stride, options, callback, data, request);
}
inline modelserve_status submit(modelserve_model model, Rows<double> rows,
                                const modelserve_request_options *options,
                                modelserve_batch_callback callback, void *data,
                                modelserve_request *request) noexcept {
    return modelserve_predict_batch_submit_f64(model, rows.data, rows.n_rows, rows.width,
                                               rows.row_stride, options, callback, data, request);
}

inline void told(void *data, modelserve_status status, const modelserve_prediction *prediction,
                 const modelserve_receipt *receipt, const char *error) noexcept {
    using Data = Callback<OnPrediction>;
    const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
    contained([&] {
        if (status != MODELSERVE_STATUS_OK) {
            owned->function(status, nullptr, error);
            return;
        }
        Prediction both;
        static_cast<modelserve_prediction &>(both) = *prediction;
        both.receipt = *receipt;
        owned->function(status, &both, std::string());
    });
}

inline void told_batch(void *data, modelserve_status status,
                       const modelserve_batch_answers *answers, const modelserve_receipt *receipt,
                       const char *error) noexcept {
    using Data = Callback<OnBatch>;
    const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
    if (status != MODELSERVE_STATUS_OK) {
        contained([&] { owned->function(status, nullptr, error); });
        return;
    }
    Batch batch;
    const bool copied = did([&] {
        if (answers->labels != nullptr) {
            batch.labels.assign(answers->labels,
                                answers->labels + answers->n_rows * answers->batch.n_labels);
        }
        if (answers->scores != nullptr) {
            batch.scores.assign(answers->scores,
                                answers->scores + answers->n_rows * answers->batch.n_scores);
        }
    });
    batch.info = answers->batch;
    batch.receipt = *receipt;
    contained([&] {
        if (copied) {
            owned->function(status, &batch, std::string());
        } else {
            owned->function(MODELSERVE_STATUS_LIMIT_EXCEEDED, nullptr, "out of memory");
        }
    });
}

inline void told_run(void *data, modelserve_status status, modelserve_outputs handle,
                     const modelserve_receipt *receipt, const char *error) noexcept {
    using Data = Callback<OnOutputs>;
    const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
    if (status != MODELSERVE_STATUS_OK) {
        contained([&] { owned->function(status, nullptr, error); });
        return;
    }
    Outputs outputs(handle, *receipt);
    contained([&] { owned->function(status, &outputs, std::string()); });
}

/// Submits with `done` as the callback's data.
template <typename Function, typename Submit>
Answer<Request> submitted(Function done, Submit submit) {
    using Data = Callback<Function>;
    auto data = std::make_unique<Data>(Data{std::move(done)});
    modelserve_request handle{0};
    MODELSERVE_TRY_(submit(data.get(), &handle));
    // It belongs to the callback, which may have run already.
    static_cast<void>(data.release());
    return Request(handle);
}

/// Submits with a callback that keeps a promise. What cannot even be submitted is thrown, or,
/// without exceptions, in the future.
template <typename T, typename Pointer, typename Submit>
Future<T> in_future(Submit submit, Request *request) {
    auto promise = std::make_shared<std::promise<Answer<T>>>();
    Future<T> future = promise->get_future();
    auto done = [promise](modelserve_status status, Pointer answer, const std::string &message) {
        if (answer != nullptr) {
            promise->set_value(Answer<T>(std::move(*answer)));
            return;
        }
#ifdef MODELSERVE_NO_EXCEPTIONS
        promise->set_value(Error(status, message));
#else
        promise->set_exception(std::make_exception_ptr(Error(status, message)));
#endif
    };
#ifdef MODELSERVE_NO_EXCEPTIONS
    Result<Request> asked = submit(std::move(done));
    if (!asked) {
        promise->set_value(std::move(asked).error());
    } else if (request != nullptr) {
        *request = *std::move(asked);
    }
#else
    Request asked = submit(std::move(done));
    if (request != nullptr) {
        *request = std::move(asked);
    }
#endif
    return future;
}

inline Answer<std::size_t> product(std::size_t rows, std::size_t width) {
    if (width != 0 && rows > SIZE_MAX / width) {
        MODELSERVE_FAIL_(Error(MODELSERVE_STATUS_LIMIT_EXCEEDED,
                               "modelserve: the answers pass the address space"));
    }
    return rows * width;
}

/// Room in `batch` for so many answers.
inline Answer<void> make_room(Batch &batch, std::size_t rows, std::size_t labels,
                              std::size_t scores) {
    MODELSERVE_LET_(all_labels, product(rows, labels));
    MODELSERVE_LET_(all_scores, product(rows, scores));
    batch.labels.resize(all_labels);
    batch.scores.resize(all_scores);
    return Answer<void>();
}

/// Fills `values` by `ask`, which gives a status and tells how many there are: first asked without
/// room, and again where a reload made room too small.
template <typename T, typename Ask> Answer<void> fill(std::vector<T> &values, Ask ask) {
    for (;;) {
        values.clear();
        std::size_t needed = 0;
        MODELSERVE_DO_(ask(needed).checked());
        values.resize(needed);
        const auto again = ask(needed);
        if (again.status != MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
            MODELSERVE_DO_(again.checked());
            values.resize(needed);
            return Answer<void>();
        }
    }
}

} // namespace detail
/// \endcond

/// Requests of one form to one model, for rows of `T`: `float` or `double`. See
/// `modelserve_prepare`.
template <typename T> class Prepared {
    static_assert(std::is_same<T, float>::value || std::is_same<T, double>::value,
                  "float or double");

public:
    /// Owns nothing; every call fails with MODELSERVE_STATUS_INVALID_HANDLE.
    Prepared() noexcept = default;
    /// Takes over a handle, which was prepared for rows of `T`.
    explicit Prepared(modelserve_prepared handle) noexcept : handle_(handle) {}

    /// Predicts `n_rows` rows that lie from `rows` on as was prepared for, into the caller's
    /// memory (`modelserve_prepared_predict`).
    Answer<modelserve_batch> predict(const T *rows, std::size_t n_rows, Span<std::int64_t> labels,
                                     Span<double> scores,
                                     modelserve_receipt *receipt = nullptr) const {
        modelserve_batch batch{};
        MODELSERVE_TRY_(modelserve_prepared_predict(get(), rows, n_rows, labels.data(),
                                                    labels.size(), scores.data(), scores.size(),
                                                    &batch, receipt));
        return batch;
    }

    /// The handle, still owned by this.
    modelserve_prepared get() const noexcept { return handle_.get(); }

private:
    detail::Owned<modelserve_prepared, modelserve_prepared_free> handle_;
};

/// A model to predict with.
class Model {
public:
    /// Owns nothing; every call fails with MODELSERVE_STATUS_INVALID_HANDLE.
    Model() noexcept = default;
    /// Takes over a handle.
    explicit Model(modelserve_model handle) noexcept : handle_(handle) {}

    /// Loads a model file without a manager.
    static Answer<Model> load(const std::string &path,
                              const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        MODELSERVE_TRY_(modelserve_model_load(path.c_str(), options, &handle));
        return Model(handle);
    }

    /// Loads a model from the bytes of its file.
    static Answer<Model> load_bytes(const void *bytes, std::size_t size,
                                    const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        MODELSERVE_TRY_(
            modelserve_model_load_bytes(detail::bytes_of(bytes), size, options, &handle));
        return Model(handle);
    }

    /// Predicts one row.
    Answer<modelserve_prediction> predict(Span<const float> row) const { return one(row); }
    /// Predicts one row of doubles.
    Answer<modelserve_prediction> predict(Span<const double> row) const { return one(row); }
    /// Predicts one row.
    Answer<modelserve_prediction> predict(std::initializer_list<float> row) const {
        return one(Span<const float>(row.begin(), row.size()));
    }
    /// Predicts one row.
    Answer<modelserve_prediction> predict(const float *row, std::size_t width) const {
        return one(Span<const float>(row, width));
    }
    /// Predicts one row of doubles.
    template <typename T, detail::if_double<T> = 0>
    Answer<modelserve_prediction> predict(const T *row, std::size_t width) const {
        return one(Span<const T>(row, width));
    }

    /// Predicts one row, as `options` say, with a receipt.
    Answer<Prediction> predict(Span<const float> row,
                               const modelserve_request_options &options) const {
        return one(row, options);
    }
    /// Predicts one row of doubles, as `options` say, with a receipt.
    Answer<Prediction> predict(Span<const double> row,
                               const modelserve_request_options &options) const {
        return one(row, options);
    }
    /// Predicts one row, as `options` say, with a receipt.
    Answer<Prediction> predict(const float *row, std::size_t width,
                               const modelserve_request_options &options) const {
        return one(Span<const float>(row, width), options);
    }
    /// Predicts one row of doubles, as `options` say, with a receipt.
    template <typename T, detail::if_double<T> = 0>
    Answer<Prediction> predict(const T *row, std::size_t width,
                               const modelserve_request_options &options) const {
        return one(Span<const T>(row, width), options);
    }

    /// Predicts a batch of rows.
    Answer<Batch> predict_batch(Rows<float> rows,
                                const modelserve_request_options *options = nullptr) const {
        return batch(rows, options);
    }
    /// Predicts a batch of rows of doubles.
    Answer<Batch> predict_batch(Rows<double> rows,
                                const modelserve_request_options *options = nullptr) const {
        return batch(rows, options);
    }
    /// Predicts `n_rows` rows; `row_stride` is in bytes, 0 for rows without gaps.
    Answer<Batch> predict_batch(const float *rows, std::size_t n_rows, std::size_t width,
                                std::ptrdiff_t row_stride = 0,
                                const modelserve_request_options *options = nullptr) const {
        return batch(Rows<float>(rows, n_rows, width, row_stride), options);
    }
    /// Predicts `n_rows` rows of doubles.
    template <typename T, detail::if_double<T> = 0>
    Answer<Batch> predict_batch(const T *rows, std::size_t n_rows, std::size_t width,
                                std::ptrdiff_t row_stride = 0,
                                const modelserve_request_options *options = nullptr) const {
        return batch(Rows<T>(rows, n_rows, width, row_stride), options);
    }

    /// Predicts one row, its scores into the caller's memory (`modelserve_predict_scores`).
    Answer<modelserve_prediction> predict_into(Span<const float> row, Span<double> scores) const {
        return one_into(row, scores);
    }
    /// Predicts one row of doubles, its scores into the caller's memory.
    Answer<modelserve_prediction> predict_into(Span<const double> row, Span<double> scores) const {
        return one_into(row, scores);
    }
    /// Predicts one row, its scores into the caller's memory.
    template <typename T>
    Answer<modelserve_prediction> predict_into(const T *row, std::size_t width, double *scores,
                                               std::size_t scores_len) const {
        return one_into(Span<const T>(row, width), Span<double>(scores, scores_len));
    }

    /// Predicts rows into the caller's memory (`modelserve_predict_batch_with`); `options` and
    /// `receipt` may be null.
    Answer<modelserve_batch> predict_into(Rows<float> rows, Span<std::int64_t> labels,
                                          Span<double> scores,
                                          const modelserve_request_options *options = nullptr,
                                          modelserve_receipt *receipt = nullptr) const {
        return batch_into(rows, labels, scores, options, receipt);
    }
    /// Predicts rows of doubles into the caller's memory.
    Answer<modelserve_batch> predict_into(Rows<double> rows, Span<std::int64_t> labels,
                                          Span<double> scores,
                                          const modelserve_request_options *options = nullptr,
                                          modelserve_receipt *receipt = nullptr) const {
        return batch_into(rows, labels, scores, options, receipt);
    }
    /// Predicts `n_rows` rows into the caller's memory.
    template <typename T>
    Answer<modelserve_batch> predict_into(const T *rows, std::size_t n_rows, std::size_t width,
                                          std::int64_t *labels, std::size_t labels_len,
                                          double *scores, std::size_t scores_len,
                                          std::ptrdiff_t row_stride = 0) const {
        return batch_into(Rows<T>(rows, n_rows, width, row_stride),
                          Span<std::int64_t>(labels, labels_len),
                          Span<double>(scores, scores_len), nullptr, nullptr);
    }

    /// Prepares requests that are asked many times (`modelserve_prepare`); the layout's element
    /// type is that of `T`. `options` may be null.
    template <typename T>
    Answer<Prepared<T>> prepare(modelserve_layout layout,
                                const modelserve_request_options *options = nullptr) const {
        modelserve_prepared handle{0};
        layout.dtype = detail::dtype_of<T>();
        MODELSERVE_TRY_(modelserve_prepare(get(), &layout, options, &handle));
        return Prepared<T>(handle);
    }

    /// What each feature adds to the margins of some rows, for a model that was loaded with
    /// `explain` (`modelserve_explain`).
    Answer<Explanations> explain(Rows<float> rows) const { return explained(rows); }
    /// What each feature adds to the margins of some rows of doubles.
    Answer<Explanations> explain(Rows<double> rows) const { return explained(rows); }
    /// What each feature adds to the margins of `n_rows` rows.
    template <typename T>
    Answer<Explanations> explain(const T *rows, std::size_t n_rows, std::size_t width,
                                 std::ptrdiff_t row_stride = 0) const {
        return explained(Rows<T>(rows, n_rows, width, row_stride));
    }

    /// The leaf that each of some rows ends at in each tree (`modelserve_apply`).
    Answer<Leaves> apply(Rows<float> rows) const { return applied(rows); }
    /// The leaf that each of some rows of doubles ends at in each tree.
    Answer<Leaves> apply(Rows<double> rows) const { return applied(rows); }
    /// The leaf that each of `n_rows` rows ends at in each tree.
    template <typename T>
    Answer<Leaves> apply(const T *rows, std::size_t n_rows, std::size_t width,
                         std::ptrdiff_t row_stride = 0) const {
        return applied(Rows<T>(rows, n_rows, width, row_stride));
    }

    /// How much each feature matters to the whole model, told by `kind`, one of
    /// MODELSERVE_IMPORTANCE_*.
    Answer<std::vector<double>> importance(std::int32_t kind) const {
        std::vector<double> values;
        MODELSERVE_DO_(detail::fill(values, [&, this](std::size_t &needed) {
            return Asked{
                modelserve_importance(get(), kind, values.data(), values.size(), &needed)};
        }));
        return values;
    }

    /// Asks for the prediction of one row, which is copied; `done` is called exactly once. Where
    /// this fails, `done` is not called.
    Answer<Request> submit(Span<const float> row, OnPrediction done,
                           const modelserve_request_options *options = nullptr) const {
        return ask(row, std::move(done), options);
    }
    /// Asks for the prediction of one row of doubles, as above.
    Answer<Request> submit(Span<const double> row, OnPrediction done,
                           const modelserve_request_options *options = nullptr) const {
        return ask(row, std::move(done), options);
    }
    /// Asks for the prediction of one row, as above.
    template <typename T>
    Answer<Request> submit(const T *row, std::size_t width, OnPrediction done,
                           const modelserve_request_options *options = nullptr) const {
        return ask(Span<const T>(row, width), std::move(done), options);
    }

    /// Asks for the prediction of one row, which is copied. What it fails with is in the future;
    /// `request`, where given, is for cancelling.
    Future<Prediction> submit(Span<const float> row,
                              const modelserve_request_options *options = nullptr,
                              Request *request = nullptr) const {
        return ask(row, options, request);
    }
    /// Asks for the prediction of one row of doubles, as above.
    Future<Prediction> submit(Span<const double> row,
                              const modelserve_request_options *options = nullptr,
                              Request *request = nullptr) const {
        return ask(row, options, request);
    }
    /// Asks for the prediction of one row, as above.
    Future<Prediction> submit(std::initializer_list<float> row,
                              const modelserve_request_options *options = nullptr,
                              Request *request = nullptr) const {
        return ask(Span<const float>(row.begin(), row.size()), options, request);
    }
    /// Asks for the prediction of one row, as above.
    template <typename T>
    Future<Prediction> submit(const T *row, std::size_t width,
                              const modelserve_request_options *options = nullptr,
                              Request *request = nullptr) const {
        return ask(Span<const T>(row, width), options, request);
    }

    /// Predicts the rows of named columns (`modelserve_predict_columns`).
    Answer<Batch> predict_columns(Span<const modelserve_tensor> columns,
                                  const modelserve_request_options *options = nullptr) const {
        Batch batch;
        const std::size_t rows =
            columns.empty() || columns[0].rank == 0 || columns[0].dims == nullptr ||
                    columns[0].dims[0] < 0
                ? 0
                : static_cast<std::size_t>(columns[0].dims[0]);
        const auto ask = [&] {
            return modelserve_predict_columns(get(), columns.data(), columns.size(), options,
                                              batch.labels.data(), batch.labels.size(),
                                              batch.scores.data(), batch.scores.size(),
                                              &batch.info, &batch.receipt);
        };
        // Room for the answers of most models: one label or value a row, one score a class.
        std::size_t classes = 0;
        MODELSERVE_TRY_(modelserve_model_class_count(get(), &classes));
        MODELSERVE_DO_(detail::make_room(batch, rows, 1, classes > 1 ? classes : 1));
        modelserve_status status = ask();
        if (status == MODELSERVE_STATUS_BUFFER_TOO_SMALL) {
            batch.labels.clear();
            batch.scores.clear();
            MODELSERVE_TRY_(ask());
            MODELSERVE_DO_(
                detail::make_room(batch, rows, batch.info.n_labels, batch.info.n_scores));
            status = ask();
        }
        MODELSERVE_TRY_(status);
        MODELSERVE_DO_(detail::make_room(batch, rows, batch.info.n_labels, batch.info.n_scores));
        return batch;
    }

    /// Runs the model on named tensors; answers the outputs of those names, all where there are
    /// none.
    Answer<Outputs> run(Span<const modelserve_tensor> inputs,
                        const std::vector<std::string> &outputs = {},
                        const modelserve_request_options *options = nullptr) const {
        const std::vector<const char *> names = detail::pointers(outputs);
        modelserve_outputs handle{0};
        modelserve_receipt receipt{};
        MODELSERVE_TRY_(modelserve_run_with(get(), inputs.data(), inputs.size(), names.data(),
                                            names.size(), options, &handle, &receipt));
        return Outputs(handle, receipt);
    }

    /// Runs the model on named tensors, the outputs into the caller's memory
    /// (`modelserve_run_into`); `options` and `receipt` may be null.
    Answer<void> run_into(Span<const modelserve_tensor> inputs, Span<modelserve_buffer> outputs,
                          const modelserve_request_options *options = nullptr,
                          modelserve_receipt *receipt = nullptr) const {
        return detail::done(modelserve_run_into(get(), inputs.data(), inputs.size(),
                                                outputs.data(), outputs.size(), options, receipt));
    }

    /// Asks for the predictions of some rows, which are copied; `done` is called exactly once.
    /// Where this fails, `done` is not called.
    Answer<Request> submit_batch(Rows<float> rows, OnBatch done,
                                 const modelserve_request_options *options = nullptr) const {
        return ask(rows, std::move(done), options);
    }
    /// Asks for the predictions of some rows of doubles, as above.
    Answer<Request> submit_batch(Rows<double> rows, OnBatch done,
                                 const modelserve_request_options *options = nullptr) const {
        return ask(rows, std::move(done), options);
    }
    /// Asks for the predictions of `n_rows` rows, as above. `row_stride` is in bytes, 0 for rows
    /// without gaps.
    template <typename T>
    Answer<Request> submit_batch(const T *rows, std::size_t n_rows, std::size_t width,
                                 OnBatch done,
                                 const modelserve_request_options *options = nullptr,
                                 std::ptrdiff_t row_stride = 0) const {
        return ask(Rows<T>(rows, n_rows, width, row_stride), std::move(done), options);
    }

    /// Asks for the predictions of some rows, which are copied. What it fails with is in the
    /// future; `request`, where given, is for cancelling.
    Future<Batch> submit_batch(Rows<float> rows,
                               const modelserve_request_options *options = nullptr,
                               Request *request = nullptr) const {
        return ask(rows, options, request);
    }
    /// Asks for the predictions of some rows of doubles, as above.
    Future<Batch> submit_batch(Rows<double> rows,
                               const modelserve_request_options *options = nullptr,
                               Request *request = nullptr) const {
        return ask(rows, options, request);
    }
    /// Asks for the predictions of `n_rows` rows, as above.
    Future<Batch> submit_batch(const float *rows, std::size_t n_rows, std::size_t width,
                               const modelserve_request_options *options = nullptr,
                               std::ptrdiff_t row_stride = 0, Request *request = nullptr) const {
        return ask(Rows<float>(rows, n_rows, width, row_stride), options, request);
    }
    /// Asks for the predictions of `n_rows` rows of doubles, as above.
    template <typename T, detail::if_double<T> = 0>
    Future<Batch> submit_batch(const T *rows, std::size_t n_rows, std::size_t width,
                               const modelserve_request_options *options = nullptr,
                               std::ptrdiff_t row_stride = 0, Request *request = nullptr) const {
        return ask(Rows<T>(rows, n_rows, width, row_stride), options, request);
    }

    /// Asks for the predictions of the rows of named columns, which are copied; `done` is called
    /// exactly once. Where this fails, `done` is not called.
    Answer<Request> submit_columns(Span<const modelserve_tensor> columns, OnBatch done,
                                   const modelserve_request_options *options = nullptr) const {
        return detail::submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_predict_columns_submit(get(), columns.data(), columns.size(), options,
                                                     detail::told_batch, data, request);
        });
    }
    /// Asks for the predictions of the rows of named columns, which are copied. What it fails with
    /// is in the future; `request`, where given, is for cancelling.
    Future<Batch> submit_columns(Span<const modelserve_tensor> columns,
                                 const modelserve_request_options *options = nullptr,
                                 Request *request = nullptr) const {
        return detail::in_future<Batch, const Batch *>(
            [&](OnBatch done) { return submit_columns(columns, std::move(done), options); },
            request);
    }

    /// Asks for a run on named tensors, which are copied; `done` is called exactly once. Where
    /// this fails, `done` is not called.
    Answer<Request> submit_run(Span<const modelserve_tensor> inputs,
                               const std::vector<std::string> &outputs, OnOutputs done,
                               const modelserve_request_options *options = nullptr) const {
        const std::vector<const char *> names = detail::pointers(outputs);
        return detail::submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_run_submit(get(), inputs.data(), inputs.size(), names.data(),
                                         names.size(), options, detail::told_run, data, request);
        });
    }
    /// Asks for a run on named tensors, which are copied. What it fails with is in the future;
    /// `request`, where given, is for cancelling.
    Future<Outputs> submit_run(Span<const modelserve_tensor> inputs,
                               const std::vector<std::string> &outputs = {},
                               const modelserve_request_options *options = nullptr,
                               Request *request = nullptr) const {
        return detail::in_future<Outputs, Outputs *>(
            [&](OnOutputs done) { return submit_run(inputs, outputs, std::move(done), options); },
            request);
    }

    /// Puts the requests recorded in the file at `path` to this model and compares the answers
    /// with the recorded ones.
    Answer<modelserve_replay_report>
    replay(const std::string &path, const modelserve_replay_options *options = nullptr) const {
        modelserve_replay_report report{};
        MODELSERVE_TRY_(modelserve_model_replay(get(), path.c_str(), options, &report));
        return report;
    }

    /// The name it is served under; empty without a manager.
    Answer<std::string> name() const { return detail::text_of(modelserve_model_name, get()); }

    /// Whether it keeps answering with one version.
    Answer<bool> is_pinned() const {
        std::int32_t pinned = 0;
        MODELSERVE_TRY_(modelserve_model_is_pinned(get(), &pinned));
        return pinned != 0;
    }

    /// The counters of the model, of its one version where it is pinned, as JSON.
    Answer<std::string> stats() const { return detail::text_of(modelserve_model_stats, get()); }

    /// A model that keeps answering with the version serving now.
    Answer<Model> pin() const {
        modelserve_model handle{0};
        MODELSERVE_TRY_(modelserve_model_pin(get(), &handle));
        return Model(handle);
    }

    /// The number of the version that answers now.
    Answer<std::uint64_t> version() const {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_model_version(get(), &version));
        return version;
    }

    /// What is known of the model, as JSON.
    Answer<std::string> info() const { return detail::text_of(modelserve_model_info, get()); }

    /// Roughly how long one core needs for `n_rows` rows, as measured at load.
    Answer<std::chrono::nanoseconds> estimated(std::size_t n_rows) const {
        std::uint64_t nanoseconds = 0;
        MODELSERVE_TRY_(modelserve_model_estimated_ns(get(), n_rows, &nanoseconds));
        return std::chrono::nanoseconds(nanoseconds);
    }

    /// The labels of the classes, in the order of the scores.
    Answer<std::vector<std::string>> classes() const {
        std::size_t count = 0;
        MODELSERVE_TRY_(modelserve_model_class_count(get(), &count));
        std::vector<std::string> labels;
        for (std::size_t i = 0; i < count; i++) {
            MODELSERVE_LET_(label, detail::text_of(modelserve_model_class_label, get(), i));
            labels.push_back(std::move(label));
        }
        return labels;
    }

    /// What the model takes, in order.
    Answer<std::vector<Spec>> inputs() const {
        return specs(modelserve_model_input_count, modelserve_model_input);
    }

    /// What the model answers, in order.
    Answer<std::vector<Spec>> outputs() const {
        return specs(modelserve_model_output_count, modelserve_model_output);
    }

    /// The handle, still owned by this.
    modelserve_model get() const noexcept { return handle_.get(); }

private:
    /// What a call of the C interface came to.
    struct Asked {
        modelserve_status status;

        Answer<void> checked() const { return detail::done(status); }
    };

    template <typename T> Answer<modelserve_prediction> one(Span<const T> row) const {
        modelserve_prediction prediction{};
        MODELSERVE_TRY_(detail::predict(get(), row.data(), row.size(), &prediction));
        return prediction;
    }

    template <typename T>
    Answer<Prediction> one(Span<const T> row, const modelserve_request_options &options) const {
        Prediction prediction{};
        MODELSERVE_TRY_(detail::predict(get(), row.data(), row.size(), &options, &prediction));
        return prediction;
    }

    template <typename T>
    Answer<modelserve_prediction> one_into(Span<const T> row, Span<double> scores) const {
        modelserve_prediction prediction{};
        MODELSERVE_TRY_(detail::predict(get(), row.data(), row.size(), scores, &prediction));
        return prediction;
    }

    template <typename T>
    Answer<modelserve_batch> batch_into(Rows<T> rows, Span<std::int64_t> labels,
                                        Span<double> scores,
                                        const modelserve_request_options *options,
                                        modelserve_receipt *receipt) const {
        modelserve_batch batch{};
        MODELSERVE_TRY_(detail::predict(get(), rows, options, labels, scores, &batch, receipt));
        return batch;
    }

    template <typename T>
    Answer<Batch> batch(Rows<T> rows, const modelserve_request_options *options) const {
        Batch batch;
        // How many numbers a row has is known after the first row: ask that before all of them.
        modelserve_batch shape{};
        if (rows.n_rows > 0) {
            MODELSERVE_TRY_(detail::predict(get(), Rows<T>(rows.data, 1, rows.width), options, {},
                                            {}, &shape, nullptr));
            MODELSERVE_DO_(detail::make_room(batch, rows.n_rows, shape.n_labels, shape.n_scores));
        }
        MODELSERVE_TRY_(detail::predict(get(), rows, options, batch.labels, batch.scores,
                                        &batch.info, &batch.receipt));
        return batch;
    }

    template <typename T> Answer<Explanations> explained(Rows<T> rows) const {
        Explanations told;
        MODELSERVE_DO_(detail::fill(told.values, [&, this](std::size_t &needed) {
            const modelserve_status status =
                detail::explain(get(), rows, told.values, &told.info);
            // Where it passes the address space the library has refused the rows.
            needed = rows.n_rows * told.info.n_targets * (told.info.n_features + 1);
            return Asked{status};
        }));
        return told;
    }

    template <typename T> Answer<Leaves> applied(Rows<T> rows) const {
        Leaves told;
        MODELSERVE_DO_(detail::fill(told.leaves, [&, this](std::size_t &needed) {
            const modelserve_status status = detail::apply(get(), rows, told.leaves, &told.trees);
            needed = rows.n_rows * told.trees;
            return Asked{status};
        }));
        return told;
    }

    template <typename T>
    Answer<Request> ask(Span<const T> row, OnPrediction done,
                        const modelserve_request_options *options) const {
        return detail::submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return detail::submit(get(), row, options, detail::told, data, request);
        });
    }

    template <typename T>
    Future<Prediction> ask(Span<const T> row, const modelserve_request_options *options,
                           Request *request) const {
        return detail::in_future<Prediction, const Prediction *>(
            [&](OnPrediction done) { return ask(row, std::move(done), options); }, request);
    }

    template <typename T>
    Answer<Request> ask(Rows<T> rows, OnBatch done,
                        const modelserve_request_options *options) const {
        return detail::submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return detail::submit(get(), rows, options, detail::told_batch, data, request);
        });
    }

    template <typename T>
    Future<Batch> ask(Rows<T> rows, const modelserve_request_options *options,
                      Request *request) const {
        return detail::in_future<Batch, const Batch *>(
            [&](OnBatch done) { return ask(rows, std::move(done), options); }, request);
    }

    template <typename Count, typename Tell>
    Answer<std::vector<Spec>> specs(Count count_of, Tell tell) const {
        std::size_t count = 0;
        MODELSERVE_TRY_(count_of(get(), &count));
        std::vector<Spec> specs;
        for (std::size_t i = 0; i < count; i++) {
            Spec spec{};
            MODELSERVE_LET_(name, detail::text_of(tell, get(), i, &spec));
            spec.name = std::move(name);
            specs.push_back(std::move(spec));
        }
        return specs;
    }

    detail::Owned<modelserve_model, modelserve_model_free> handle_;
};

/// Names and values of HTTP headers.
using Headers = std::vector<std::pair<std::string, std::string>>;

/// The response to an HTTP request.
struct HttpResponse {
    /// The HTTP status.
    std::int32_t status = 0;
    /// Names and values, without the length.
    Headers headers;
    /// The bytes of the body.
    std::string body;
};

/// Given the response to a submitted HTTP request, on any thread. What it throws goes the way of
/// `set_on_thrown`.
using OnResponse = std::function<void(HttpResponse)>;

/// \cond
namespace detail {

/// Headers as the C interface takes them.
struct HeaderPointers {
    std::vector<const char *> names, values;

    explicit HeaderPointers(const Headers &headers) {
        for (const auto &header : headers) {
            names.push_back(header.first.c_str());
            values.push_back(header.second.c_str());
        }
    }
};

/// The response behind a handle, which is freed.
inline Answer<HttpResponse> response(modelserve_http_response handle) {
    const Owned<modelserve_http_response, modelserve_http_response_free> owned(handle);
    HttpResponse response;
    MODELSERVE_TRY_(modelserve_http_response_status(handle, &response.status));
    std::size_t size = 0;
    MODELSERVE_TRY_(modelserve_http_response_header_count(handle, &size));
    for (std::size_t i = 0; i < size; i++) {
        MODELSERVE_LET_(name, text_of(modelserve_http_response_header_name, handle, i));
        MODELSERVE_LET_(value, text_of(modelserve_http_response_header_value, handle, i));
        response.headers.emplace_back(std::move(name), std::move(value));
    }
    MODELSERVE_TRY_(modelserve_http_response_body(handle, nullptr, 0, &size));
    response.body.resize(size);
    MODELSERVE_TRY_(modelserve_http_response_body(
        handle, reinterpret_cast<std::uint8_t *>(&response.body[0]), size, &size));
    return response;
}

inline void told_http(void *data, modelserve_http_response handle) noexcept {
    using Data = Callback<OnResponse>;
    const auto owned = std::unique_ptr<Data>(static_cast<Data *>(data));
    HttpResponse answer;
    // What is told where there is no room for what was to be told.
    answer.status = 500;
    did([&] {
#ifdef MODELSERVE_NO_EXCEPTIONS
        Result<HttpResponse> read = response(handle);
        if (read) {
            answer = *std::move(read);
        }
#else
        answer = response(handle);
#endif
    });
    contained([&] { owned->function(std::move(answer)); });
}

} // namespace detail
/// \endcond

/// A manager's models as HTTP knows them.
class Http {
public:
    /// Owns nothing; every call fails with MODELSERVE_STATUS_INVALID_HANDLE.
    Http() noexcept = default;
    /// Takes over a handle.
    explicit Http(modelserve_http handle) noexcept : handle_(handle) {}

    /// Answers one request on the calling thread: `method` in capitals, `target` with its query.
    Answer<HttpResponse> handle(const std::string &method, const std::string &target,
                                const Headers &headers = {},
                                const std::string &body = std::string()) const {
        const detail::HeaderPointers given(headers);
        modelserve_http_response response{0};
        MODELSERVE_TRY_(modelserve_http_handle(
            get(), method.c_str(), target.c_str(), given.names.data(), given.values.data(),
            given.names.size(), detail::bytes_of(body.data()), body.size(), &response));
        return detail::response(response);
    }

    /// Asks for the answer to one request, which is copied; `done` is called exactly once. Where
    /// this fails, `done` is not called.
    Answer<Request> submit(const std::string &method, const std::string &target,
                           const Headers &headers, const std::string &body, OnResponse done) const {
        const detail::HeaderPointers given(headers);
        return detail::submitted(std::move(done), [&](void *data, modelserve_request *request) {
            return modelserve_http_submit(get(), method.c_str(), target.c_str(),
                                          given.names.data(), given.values.data(),
                                          given.names.size(), detail::bytes_of(body.data()),
                                          body.size(), detail::told_http, data, request);
        });
    }

    /// The handle, still owned by this.
    modelserve_http get() const noexcept { return handle_.get(); }

private:
    detail::Owned<modelserve_http, modelserve_http_free> handle_;
};

/// Named models that are loaded, reloaded and unloaded while others predict.
class Manager {
public:
#ifndef MODELSERVE_NO_EXCEPTIONS
    /// `threads` worker threads for large predictions; 0 means the process's CPU quota.
    explicit Manager(std::size_t threads = 0) : Manager(create(threads)) {}
    /// A manager as `options` say.
    explicit Manager(const modelserve_manager_options &options) : Manager(create(options)) {}
#endif

    /// `threads` worker threads for large predictions; 0 means the process's CPU quota.
    static Answer<Manager> create(std::size_t threads = 0) {
        modelserve_manager handle{0};
        MODELSERVE_TRY_(modelserve_manager_new(threads, &handle));
        return Manager(Owned(handle));
    }
    /// A manager as `options` say.
    static Answer<Manager> create(const modelserve_manager_options &options) {
        modelserve_manager handle{0};
        MODELSERVE_TRY_(modelserve_manager_new_with(&options, &handle));
        return Manager(Owned(handle));
    }

    /// A manager as the TOML file at `path` describes it.
    static Answer<Manager> from_config(const std::string &path) {
        modelserve_manager handle{0};
        MODELSERVE_TRY_(modelserve_manager_from_config(path.c_str(), &handle));
        return Manager(Owned(handle));
    }

    /// Loads a model file and serves it as `name`.
    Answer<Model> load(const std::string &name, const std::string &path,
                       const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        MODELSERVE_TRY_(
            modelserve_manager_load(get(), name.c_str(), path.c_str(), options, &handle));
        return Model(handle);
    }

    /// Loads a model from the bytes of its file and serves it as `name`.
    Answer<Model> load_bytes(const std::string &name, const void *bytes, std::size_t size,
                             const modelserve_load_options *options = nullptr) {
        modelserve_model handle{0};
        MODELSERVE_TRY_(modelserve_manager_load_bytes(get(), name.c_str(), detail::bytes_of(bytes),
                                                      size, options, &handle));
        return Model(handle);
    }

    /// Loads a new version of `name` from the bytes of a file; answers its number.
    Answer<std::uint64_t> reload_bytes(const std::string &name, const void *bytes, std::size_t size,
                                       const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_manager_reload_bytes(
            get(), name.c_str(), detail::bytes_of(bytes), size, options, &version));
        return version;
    }

    /// Loads a new version of `name` from `path`; answers its number.
    Answer<std::uint64_t> reload(const std::string &name, const std::string &path,
                                 const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(
            modelserve_manager_reload(get(), name.c_str(), path.c_str(), options, &version));
        return version;
    }

    /// Loads the present file of `name` again; answers the new version's number.
    Answer<std::uint64_t> reload(const std::string &name) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_manager_reload(get(), name.c_str(), nullptr, nullptr, &version));
        return version;
    }

    /// Stops serving `name`.
    Answer<void> unload(const std::string &name) {
        return detail::done(modelserve_manager_unload(get(), name.c_str()));
    }

    /// A model bound to `name`.
    Answer<Model> model(const std::string &name) const {
        modelserve_model handle{0};
        MODELSERVE_TRY_(modelserve_manager_model(get(), name.c_str(), &handle));
        return Model(handle);
    }

    /// A model that keeps answering with one version of `name`, past its policies: `version`, or,
    /// for 0, the serving one (`modelserve_manager_lease`).
    Answer<Model> lease(const std::string &name, std::uint64_t version = 0) const {
        return leased(name, version, nullptr);
    }
    /// A model that keeps answering with the version of `name` that `label` points to now.
    Answer<Model> lease(const std::string &name, const std::string &label) const {
        return leased(name, 0, label.c_str());
    }

    /// Whether a version of `name` (0: the serving one) can be asked without loading anything.
    Answer<bool> can_answer(const std::string &name, std::uint64_t version = 0) const {
        return ready(name, version, nullptr);
    }
    /// Whether the version of `name` that `label` points to can be asked without loading anything.
    Answer<bool> can_answer(const std::string &name, const std::string &label) const {
        return ready(name, 0, label.c_str());
    }

    /// The names of all models, as a JSON array.
    Answer<std::string> models() const { return detail::text_of(modelserve_manager_models, get()); }

    /// The counters of `name`, as JSON.
    Answer<std::string> stats(const std::string &name) const {
        return report(name, modelserve_manager_stats);
    }

    /// All counters in Prometheus's text format.
    Answer<std::string> metrics() const {
        return detail::text_of(modelserve_manager_metrics, get());
    }
    /// All counters in the format `format`, one of MODELSERVE_METRICS_*.
    Answer<std::string> metrics(std::int32_t format) const {
        return detail::text_of(modelserve_manager_metrics_as, get(), format);
    }

    /// Loads another version of `name` beside the serving one; answers its number.
    Answer<std::uint64_t> load_version(const std::string &name, const std::string &path,
                                       const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_manager_load_version(get(), name.c_str(), path.c_str(), options,
                                                        &version));
        return version;
    }

    /// Loads another version of `name` from the bytes of a file; answers its number.
    Answer<std::uint64_t> load_version_bytes(const std::string &name, const void *bytes,
                                             std::size_t size,
                                             const modelserve_reload_options *options = nullptr) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_manager_load_version_bytes(
            get(), name.c_str(), detail::bytes_of(bytes), size, options, &version));
        return version;
    }

    /// Lets an available version answer the requests that name none.
    Answer<void> serve(const std::string &name, std::uint64_t version) {
        return detail::done(modelserve_manager_serve(get(), name.c_str(), version));
    }

    /// Lets the version serve again that served before; answers its number.
    Answer<std::uint64_t> rollback(const std::string &name) {
        std::uint64_t version = 0;
        MODELSERVE_TRY_(modelserve_manager_rollback(get(), name.c_str(), &version));
        return version;
    }

    /// Takes one version that does not serve out of service.
    Answer<void> unload_version(const std::string &name, std::uint64_t version) {
        return detail::done(modelserve_manager_unload_version(get(), name.c_str(), version));
    }

    /// The versions of `name` and where each is in its life, as JSON.
    Answer<std::string> versions(const std::string &name) const {
        return report(name, modelserve_manager_versions);
    }

    /// Points a label to an available version.
    Answer<void> set_label(const std::string &name, const std::string &label,
                           std::uint64_t version) {
        return detail::done(
            modelserve_manager_set_label(get(), name.c_str(), label.c_str(), version));
    }

    /// Removes a label.
    Answer<void> remove_label(const std::string &name, const std::string &label) {
        return detail::done(modelserve_manager_remove_label(get(), name.c_str(), label.c_str()));
    }

    /// The labels of `name` and the versions they point to, as JSON.
    Answer<std::string> labels(const std::string &name) const {
        return report(name, modelserve_manager_labels);
    }

    /// What the last gate of `name` found, as JSON; `null` where nothing was tried yet.
    Answer<std::string> gate_report(const std::string &name) const {
        return report(name, modelserve_manager_gate_report);
    }

    /// One consistent set of versions over several models, in the order of the names.
    Answer<std::vector<Model>> pin(const std::vector<std::string> &names) const {
        const std::vector<const char *> texts = detail::pointers(names);
        std::vector<modelserve_model> handles(names.size(), modelserve_model{0});
        std::vector<Model> models(names.size());
        MODELSERVE_TRY_(modelserve_manager_pin(get(), texts.data(), texts.size(), handles.data()));
        for (std::size_t i = 0; i < handles.size(); i++) {
            models[i] = Model(handles[i]);
        }
        return models;
    }

    /// Sets the policies of `name` from text in the words of the configuration file.
    Answer<void> configure(const std::string &name, const std::string &toml) {
        return detail::done(modelserve_manager_configure(get(), name.c_str(), toml.c_str()));
    }

    /// Sets the share of the requests that the canary of `name` gets.
    Answer<void> set_canary_percent(const std::string &name, double percent) {
        return detail::done(modelserve_manager_set_canary_percent(get(), name.c_str(), percent));
    }

    /// What each arm of the canary of `name` did, as JSON; `null` without one.
    Answer<std::string> traffic(const std::string &name) const {
        return report(name, modelserve_manager_traffic);
    }

    /// Where the promotion of the canary of `name` stands, as JSON; `null` without one.
    Answer<std::string> promotion(const std::string &name) const {
        return report(name, modelserve_manager_promotion);
    }

    /// What the shadow of `name` found, as JSON; `null` without one.
    Answer<std::string> shadow(const std::string &name) const {
        return report(name, modelserve_manager_shadow);
    }

    /// What the response cache of `name` did, as JSON; `null` without one.
    Answer<std::string> cache(const std::string &name) const {
        return report(name, modelserve_manager_cache);
    }

    /// Where the circuit breaker of a version (0: the serving one) stands, as JSON; `null` without
    /// one.
    Answer<std::string> circuit(const std::string &name, std::uint64_t version = 0) const {
        return detail::text_of(modelserve_manager_circuit, get(), name.c_str(), version);
    }

    /// What was found on batching a version (0: the serving one), as JSON; `null` without
    /// batching.
    Answer<std::string> batching(const std::string &name, std::uint64_t version = 0) const {
        return detail::text_of(modelserve_manager_batching, get(), name.c_str(), version);
    }

    /// Records a sample of the requests to `name` in a new file at `path`.
    Answer<void> record(const std::string &name, const std::string &path,
                        const modelserve_record_options *options = nullptr) {
        return detail::done(
            modelserve_manager_record(get(), name.c_str(), path.c_str(), options));
    }

    /// How the recording of `name` stands.
    Answer<modelserve_recording> recording(const std::string &name) const {
        modelserve_recording recording{};
        MODELSERVE_TRY_(modelserve_manager_recording(get(), name.c_str(), &recording));
        return recording;
    }

    /// Ends the recording of `name`; answers how it stood.
    Answer<modelserve_recording> stop_recording(const std::string &name) {
        modelserve_recording recording{};
        MODELSERVE_TRY_(modelserve_manager_stop_recording(get(), name.c_str(), &recording));
        return recording;
    }

    /// Puts the requests recorded in the file at `path` to a version of `name` (0: the serving
    /// one) and compares the answers with the recorded ones.
    Answer<modelserve_replay_report> replay(const std::string &name, const std::string &path,
                                            const modelserve_replay_options *options = nullptr,
                                            std::uint64_t version = 0) const {
        modelserve_replay_report report{};
        MODELSERVE_TRY_(modelserve_manager_replay(get(), name.c_str(), version, path.c_str(),
                                                  options, &report));
        return report;
    }

    /// Events that callbacks were too slow for.
    Answer<std::uint64_t> events_dropped() const {
        std::uint64_t dropped = 0;
        MODELSERVE_TRY_(modelserve_manager_events_dropped(get(), &dropped));
        return dropped;
    }

    /// How long the manager has existed.
    Answer<std::chrono::nanoseconds> uptime() const {
        std::uint64_t nanoseconds = 0;
        MODELSERVE_TRY_(modelserve_manager_uptime(get(), &nanoseconds));
        return std::chrono::nanoseconds(nanoseconds);
    }

    /// What each available version holds in memory, as JSON.
    Answer<std::string> memory() const { return detail::text_of(modelserve_manager_memory, get()); }

    /// Calls `function` with each event from now on, until the manager and the models that came
    /// from it are gone.
    Answer<void> on_event(OnEvent function) {
        using Data = detail::Callback<OnEvent>;
        auto data = std::make_unique<Data>(Data{std::move(function)});
        // The library releases it, also when it fails.
        return detail::done(
            modelserve_manager_on_event(get(), happened, data.release(), Data::release));
    }

    /// Serves a folder of models.
    Answer<void> serve_repository(const std::string &root,
                                  const modelserve_repository_options *options = nullptr) {
        return detail::done(modelserve_manager_serve_repository(get(), root.c_str(), options));
    }

    /// Looks at the folder now; answers what that did, as JSON.
    Answer<std::string> refresh() {
        MODELSERVE_TRY_(modelserve_manager_refresh(get()));
        return repository_report();
    }

    /// Looks at the folder for the sake of `name`, which may have been unloaded by name; answers
    /// what that did, as JSON.
    Answer<std::string> load_from_repository(const std::string &name) {
        MODELSERVE_TRY_(modelserve_manager_load_from_repository(get(), name.c_str()));
        return repository_report();
    }

    /// What the last look at the folder that was asked for did, as JSON.
    Answer<std::string> repository_report() const {
        return detail::text_of(modelserve_manager_repository_report, get());
    }

    /// Answers one HTTP request: `method` in capitals, `target` with its query.
    Answer<HttpResponse> http_handle(const std::string &method, const std::string &target,
                                     const Headers &headers = {},
                                     const std::string &body = std::string()) const {
        const detail::HeaderPointers given(headers);
        modelserve_http_response response{0};
        MODELSERVE_TRY_(modelserve_manager_http_handle(
            get(), method.c_str(), target.c_str(), given.names.data(), given.values.data(),
            given.names.size(), detail::bytes_of(body.data()), body.size(), &response));
        return detail::response(response);
    }

    /// The models as HTTP knows them; `options` may be null.
    Answer<Http> http(const modelserve_http_options *options = nullptr) const {
        modelserve_http handle{0};
        MODELSERVE_TRY_(modelserve_manager_http(get(), options, &handle));
        return Http(handle);
    }

    /// The handle, still owned by this.
    modelserve_manager get() const noexcept { return handle_.get(); }

private:
    using Owned = detail::Owned<modelserve_manager, modelserve_manager_free>;

    explicit Manager(Owned handle) noexcept : handle_(std::move(handle)) {}

    template <typename Report>
    Answer<std::string> report(const std::string &name, Report report) const {
        return detail::text_of(report, get(), name.c_str());
    }

    Answer<Model> leased(const std::string &name, std::uint64_t version, const char *label) const {
        modelserve_model handle{0};
        MODELSERVE_TRY_(modelserve_manager_lease(get(), name.c_str(), version, label, &handle));
        return Model(handle);
    }

    Answer<bool> ready(const std::string &name, std::uint64_t version, const char *label) const {
        std::int32_t answer = 0;
        MODELSERVE_TRY_(
            modelserve_manager_can_answer(get(), name.c_str(), version, label, &answer));
        return answer != 0;
    }

    static void happened(void *data, const modelserve_event *event) noexcept {
        detail::contained(
            [&] { static_cast<detail::Callback<OnEvent> *>(data)->function(*event); });
    }

    Owned handle_;
};

/// \cond
namespace detail {

inline void logged(void *data, const modelserve_log_record *record) noexcept {
    contained([&] { static_cast<Callback<OnLog> *>(data)->function(*record); });
}

} // namespace detail
/// \endcond

/// Hands what the library logs at `level` (MODELSERVE_LOG_*) and at more important ones to
/// `function`, in place of the one before. There is one for the process.
inline Answer<void> set_log(OnLog function, std::int32_t level = MODELSERVE_LOG_INFO) {
    using Data = detail::Callback<OnLog>;
    auto data = std::make_unique<Data>(Data{std::move(function)});
    // The library releases it, also when it fails.
    return detail::done(modelserve_log_set(detail::logged, data.release(), Data::release, level));
}

/// Ends the log.
inline Answer<void> end_log() {
    return detail::done(modelserve_log_set(nullptr, nullptr, nullptr, MODELSERVE_LOG_ERROR));
}

/// How many records the present function of the log was too slow for.
inline std::uint64_t log_dropped() noexcept { return modelserve_log_dropped(); }

/// Waits until every record so far was handed over; fails with
/// MODELSERVE_STATUS_DEADLINE_EXCEEDED.
inline Answer<void> flush_log(std::uint64_t timeout_ns) {
    return detail::done(modelserve_log_flush(timeout_ns));
}

/// What a model file holds, as JSON, whether or not it can be loaded; see modelserve_inspect_json.
inline Answer<std::string> inspect_json(const std::string &path,
                                        const modelserve_load_options *options = nullptr) {
    // The file is looked at in every call: room that is enough at once for most.
    const auto call = [&](char *buf, std::size_t len, std::size_t *needed) {
        return modelserve_inspect_json(path.c_str(), options, buf, len, needed);
    };
    return detail::text(call, 1 << 16);
}

/// The same of the bytes of a model file.
inline Answer<std::string> inspect_json(const void *bytes, std::size_t size,
                                        const modelserve_load_options *options = nullptr) {
    const auto call = [&](char *buf, std::size_t len, std::size_t *needed) {
        return modelserve_inspect_bytes_json(detail::bytes_of(bytes), size, options, buf, len,
                                             needed);
    };
    return detail::text(call, 1 << 16);
}

/// A report of a replay as JSON.
inline Answer<std::string> to_json(const modelserve_replay_report &report) {
    return detail::text_of(modelserve_replay_report_json, &report);
}

/// The version of the library, `major.minor.patch`.
inline std::string library_version() { return modelserve_version(); }

} // namespace MODELSERVE_ERRORS_
} // namespace modelserve

#undef MODELSERVE_ERRORS_
#undef MODELSERVE_FAIL_
#undef MODELSERVE_DO_
#undef MODELSERVE_LET_
#undef MODELSERVE_TRY_

#endif // MODELSERVE_HPP
