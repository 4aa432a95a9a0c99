// Puts the service of examples/cpp/service under load: clients ask it while its model is replaced
// and SIGHUP is sent, with models that cannot be loaded between; then its metrics are read, and
// SIGTERM ends it in the middle of requests. Arguments: the service, two versions of the iris model
// that disagree on the first row, a folder to work in.
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static const int clients = 8, reloads = 20;
static const char *const target = "/v1/models/iris:predict";
static const char *const body = "{\"instances\": [[5.9, 3.0, 5.1, 1.8]]}";

static std::string content(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Puts `bytes` in the place of a file at once.
static void replace(const std::string &path, const std::string &bytes) {
    const std::string beside = path + ".new";
    std::ofstream(beside, std::ios::binary) << bytes;
    CHECK(std::rename(beside.c_str(), path.c_str()) == 0);
}

struct Service {
    pid_t process;
    FILE *output;
    int port = 0;

    explicit Service(const char *program, const std::string &model) {
        int ends[2];
        CHECK(pipe(ends) == 0);
        process = fork();
        CHECK(process >= 0);
        if (process == 0) {
            dup2(ends[1], STDOUT_FILENO);
            close(ends[0]);
            close(ends[1]);
            const std::string given = "iris=" + model;
            execl(program, program, "--listen", "127.0.0.1:0", given.c_str(), nullptr);
            _exit(127);
        }
        close(ends[1]);
        output = fdopen(ends[0], "r");
        CHECK(output != nullptr);
        const std::string line = next_line();
        const std::size_t colon = line.rfind(':');
        CHECK(line.rfind("listening on", 0) == 0 && colon != std::string::npos);
        port = std::atoi(line.c_str() + colon + 1);
        CHECK(port > 0);
    }

    /// What it prints next; empty at its end.
    std::string next_line() {
        char line[1024];
        return std::fgets(line, sizeof line, output) == nullptr ? std::string() : line;
    }
};

/// The version that a line of the service says serves now; 0 for another line.
static int version_of(const std::string &line) {
    int version = 0;
    return std::sscanf(line.c_str(), "iris: version %d serves", &version) == 1 ? version : 0;
}

/// What the version that serves answers.
static std::string ask(httplib::Client &client) {
    const auto response = client.Post(target, body, "application/json");
    CHECK(response && response->status == 200);
    return response->body;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        return 2;
    }
    // A service that hangs must not hang the tests.
    alarm(600);
    const std::string versions[2] = {content(argv[2]), content(argv[3])};
    const std::string model = std::string(argv[4]) + "/service-model.onnx";
    CHECK(!versions[0].empty() && !versions[1].empty());
    replace(model, versions[0]);
    Service service(argv[1], model);

    std::string expected[2];
    {
        httplib::Client client("127.0.0.1", service.port);
        expected[0] = ask(client);
        replace(model, versions[1]);
        CHECK(kill(service.process, SIGHUP) == 0);
        CHECK(version_of(service.next_line()) == 2);
        expected[1] = ask(client);
        CHECK(expected[0] != expected[1]);
    }

    std::atomic<bool> ending(false), quiet(false);
    std::atomic<long> answered(0), last(0);
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; i++) {
        threads.emplace_back([&] {
            httplib::Client client("127.0.0.1", service.port);
            client.set_keep_alive(true);
            client.set_read_timeout(300);
            while (!quiet) {
                const auto response = client.Post(target, body, "application/json");
                if (!response) {
                    // Only a service that was told to end may close a connection.
                    CHECK(ending);
                    return;
                }
                CHECK(response->status == 200);
                CHECK(response->body == expected[0] || response->body == expected[1]);
                ++answered;
                last += ending ? 1 : 0;
            }
        });
    }
    int version = 2;
    for (int i = 0; i < reloads; i++) {
        const bool broken = i % 5 == 4;
        replace(model, broken ? versions[0].substr(0, 100) : versions[i % 2]);
        const long before = answered;
        CHECK(kill(service.process, SIGHUP) == 0);
        const std::string line = service.next_line();
        if (broken) {
            CHECK(line.rfind("iris: not reloaded: ", 0) == 0);
        } else {
            CHECK(version_of(line) > version);
            version = version_of(line);
        }
        // Requests go on between two reloads.
        while (answered < before + clients) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    {
        httplib::Client client("127.0.0.1", service.port);
        const auto metrics = client.Get("/metrics");
        CHECK(metrics && metrics->status == 200);
        CHECK(metrics->body.find("model=\"iris\"") != std::string::npos);
        CHECK(client.Get("/nothing")->status == 404);
    }
    ending = true;
    CHECK(kill(service.process, SIGTERM) == 0);
    CHECK(service.next_line() == "ended\n");
    int status = 0;
    CHECK(waitpid(service.process, &status, 0) == service.process);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    quiet = true;
    for (auto &thread : threads) {
        thread.join();
    }
    std::printf("%ld answers over %d reloads, %ld of them while it ended\n", answered.load(),
                reloads, last.load());
    return 0;
}
