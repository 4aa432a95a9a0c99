// A model server: the HTTP protocols of modelserve over the sockets of cpp-httplib.
//
//     service [--listen HOST:PORT] [--threads N] [--repository FOLDER] [NAME=FILE]...
//
// SIGHUP reads the models again, SIGTERM and SIGINT end it: see README.md.
#include <modelserve.hpp>

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <pthread.h>
#include <string>
#include <strings.h>
#include <thread>
#include <utility>
#include <vector>

namespace {

struct Options {
    std::string host = "127.0.0.1";
    int port = 8080;
    /// One serves one connection: as many connections are served at once.
    std::size_t threads = 16;
    std::string repository;
    std::vector<std::pair<std::string, std::string>> models;
};

std::optional<Options> read_options(int argc, char **argv) {
    Options options;
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        const std::size_t equals = word.find('=');
        if (word.rfind("--", 0) == 0 && i + 1 < argc) {
            const std::string value = argv[++i];
            const std::size_t colon = value.rfind(':');
            if (word == "--listen" && colon != std::string::npos) {
                options.host = value.substr(0, colon);
                options.port = std::atoi(value.c_str() + colon + 1);
            } else if (word == "--threads" && std::atoi(value.c_str()) > 0) {
                options.threads = static_cast<std::size_t>(std::atoi(value.c_str()));
            } else if (word == "--repository") {
                options.repository = value;
            } else {
                return std::nullopt;
            }
        } else if (equals != std::string::npos && equals > 0) {
            options.models.emplace_back(word.substr(0, equals), word.substr(equals + 1));
        } else {
            return std::nullopt;
        }
    }
    const bool anything = !options.models.empty() || !options.repository.empty();
    return anything ? std::make_optional(options) : std::nullopt;
}

/// Hands a request to the library and its response to the socket.
void answer(const modelserve::Http &http, const httplib::Request &request,
            httplib::Response &response) {
    modelserve::Headers headers;
    for (const auto &header : request.headers) {
        // httplib has undone the encoding of the body, or refused the request.
        if (strcasecmp(header.first.c_str(), "Content-Encoding") != 0) {
            headers.emplace_back(header.first, header.second);
        }
    }
    modelserve::HttpResponse answered;
    try {
        answered = http.handle(request.method, request.target, headers, request.body);
    } catch (const modelserve::Error &error) {
        answered.status = 400;
        answered.body = error.what();
    }
    std::string type = "text/plain; charset=utf-8";
    for (const auto &header : answered.headers) {
        if (strcasecmp(header.first.c_str(), "Content-Type") == 0) {
            type = header.second;
        } else {
            response.set_header(header.first, header.second);
        }
    }
    response.status = answered.status;
    response.set_content(answered.body, type);
}

/// Reads every model again. One that cannot be loaded goes on as it was.
void reload(modelserve::Manager &manager, const Options &options) {
    for (const auto &model : options.models) {
        const auto version = modelserve::attempt([&] { return manager.reload(model.first); });
        if (version) {
            std::printf("%s: version %llu serves\n", model.first.c_str(),
                        static_cast<unsigned long long>(*version));
        } else {
            std::printf("%s: not reloaded: %s\n", model.first.c_str(), version.error().what());
        }
    }
    if (!options.repository.empty()) {
        const auto report = modelserve::attempt([&] { return manager.refresh(); });
        std::printf("repository: %s\n", report ? report->c_str() : report.error().what());
    }
    std::fflush(stdout);
}

int serve(const Options &options, const sigset_t &signals) {
    modelserve::Manager manager;
    for (const auto &model : options.models) {
        manager.load(model.first, model.second);
    }
    if (!options.repository.empty()) {
        auto watched = modelserve::repository_options();
        watched.watch = 1;
        manager.serve_repository(options.repository, &watched);
    }
    auto http_options = modelserve::http_options();
    if (options.models.size() == 1) {
        http_options.default_model = options.models[0].first.c_str();
    }
    const modelserve::Http http = manager.http(&http_options);

    httplib::Server server;
    server.new_task_queue = [&options] { return new httplib::ThreadPool(options.threads); };
    server.set_payload_max_length(64u << 20);
    server.set_keep_alive_timeout(2);
    server.set_tcp_nodelay(true);
    const auto handler = [&http](const httplib::Request &request, httplib::Response &response) {
        answer(http, request, response);
    };
    server.Get(".*", handler).Post(".*", handler).Put(".*", handler).Patch(".*", handler);
    server.Delete(".*", handler).Options(".*", handler);
    int port = options.port;
    if (port == 0) {
        port = server.bind_to_any_port(options.host);
    } else if (!server.bind_to_port(options.host, port)) {
        port = -1;
    }
    if (port <= 0) {
        std::fprintf(stderr, "cannot listen on %s:%d\n", options.host.c_str(), options.port);
        return 1;
    }
    std::printf("listening on http://%s:%d\n", options.host.c_str(), port);
    std::fflush(stdout);

    // Signals are blocked in every thread, and taken by this one alone.
    std::atomic<bool> ended(false);
    std::thread watcher([&] {
        int signal = 0;
        while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) {
            reload(manager, options);
        }
        // Stopping a server that has not begun yet would have no effect.
        while (!ended && !server.is_running()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        if (!ended) {
            server.stop();
        }
    });
    // Returns when it was stopped and every request under way has its answer.
    const bool stopped = server.listen_after_bind();
    ended = true;
    pthread_kill(watcher.native_handle(), SIGTERM);
    watcher.join();
    std::printf("ended\n");
    return stopped ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    const std::optional<Options> options = read_options(argc, argv);
    if (!options) {
        std::fprintf(stderr,
                     "usage: %s [--listen HOST:PORT] [--threads N] [--repository FOLDER] "
                     "[NAME=FILE]...\n",
                     argv[0]);
        return 2;
    }
    // Before the library has threads, which take over what is blocked.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) {
        sigaddset(&signals, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    modelserve::set_log(
        [](const modelserve_log_record &record) {
            std::fprintf(stderr, "%s: %s\n", record.model, record.message);
        },
        MODELSERVE_LOG_WARN);
    int status = 1;
    try {
        status = serve(*options, signals);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    modelserve::end_log();
    return status;
}
