// The C++ wrapper: rows of doubles, answers into the caller's memory, explanations. Arguments: the
// iris model, a model of LightGBM and one of XGBoost with three features and squared error.
#include <modelserve.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

template <typename Call> static modelserve_status status_of(Call call) {
    try {
        call();
    } catch (const modelserve::Error &error) {
        CHECK(error.what()[0] != '\0');
        return error.status();
    }
    return MODELSERVE_STATUS_OK;
}

static void doubles(const modelserve::Model &iris) {
    const std::vector<float> rows = {5.9f, 3.0f, 5.1f, 1.8f, 5.0f, 3.5f, 1.3f, 0.3f};
    const std::vector<double> wide(rows.begin(), rows.end());
    const std::vector<double> row(wide.begin(), wide.begin() + 4);

    const modelserve::Batch batch = iris.predict_batch(rows.data(), 2, 4);
    const modelserve::Batch same = iris.predict_batch(wide.data(), 2, 4);
    CHECK(batch.labels == same.labels && batch.scores == same.scores);
    const modelserve::Batch turned = iris.predict_batch(wide.data() + 4, 2, 4, -32);
    CHECK(turned.labels[0] == batch.labels[1] && turned.labels[1] == batch.labels[0]);
    CHECK(iris.predict(row).label == batch.labels[0]);
    CHECK(iris.predict(row.data(), 4).probability == iris.predict(rows.data(), 4).probability);
    const modelserve_request_options options = modelserve::request_options();
    const modelserve::Prediction told = iris.predict(row, options);
    CHECK(told.label == batch.labels[0] && told.receipt.batch_rows == 1);
    CHECK(status_of([&] { iris.predict(wide); }) == MODELSERVE_STATUS_INVALID_INPUT);

    std::int64_t labels[2];
    double scores[6];
    modelserve_batch info = iris.predict_into(rows.data(), 2, 4, labels, 2, scores, 6);
    CHECK(info.n_scores == 3 && labels[1] == batch.labels[1] && scores[5] == batch.scores[5]);
    info = iris.predict_into(wide.data(), 2, 4, labels, 2, nullptr, 0);
    CHECK(info.n_labels == 1 && labels[0] == batch.labels[0]);
    CHECK(iris.predict_into(row.data(), 4, scores, 6).label == batch.labels[0]);
    CHECK(iris.predict_into(rows.data(), 4, scores, 3).label == batch.labels[0]);
    CHECK(scores[2] == batch.scores[2]);
    CHECK(status_of([&] { iris.predict_into(row.data(), 4, scores, 2); }) ==
          MODELSERVE_STATUS_BUFFER_TOO_SMALL);
    CHECK(status_of([&] { iris.predict_into(wide.data(), 2, 4, labels, 1, scores, 6); }) ==
          MODELSERVE_STATUS_BUFFER_TOO_SMALL);
    CHECK(status_of([&] { iris.explain(wide.data(), 2, 4); }) == MODELSERVE_STATUS_UNSUPPORTED);
}

static void explained(const char *path) {
    const std::vector<float> rows = {0.5f, -1.25f, 0.75f, -2.0f, 0.375f, 1.5f};
    const std::vector<double> wide(rows.begin(), rows.end());
    modelserve_load_options options = modelserve::load_options();
    options.explain = 1;
    modelserve::Manager manager;
    const modelserve::Model model = manager.load("boosted", path, &options);

    const modelserve::Explanations told = model.explain(wide.data(), 2, 3);
    CHECK(told.info.n_targets == 1 && told.info.n_features == 3 && told.values.size() == 8);
    const modelserve::Batch answers = model.predict_batch(wide.data(), 2, 3);
    for (std::size_t row = 0; row < 2; row++) {
        double margin = told.base();
        for (std::size_t feature = 0; feature < 3; feature++) {
            margin += told.value(row, feature);
        }
        CHECK(std::fabs(margin - answers.scores[row]) < 1e-6);
    }
    CHECK(model.explain(rows.data(), 2, 3).values == told.values);
    CHECK(model.explain(rows.data(), 0, 3).values.empty());

    const modelserve::Leaves leaves = model.apply(wide.data(), 2, 3);
    CHECK(leaves.trees >= 2 && leaves.leaves.size() == 2 * leaves.trees);
    CHECK(model.apply(rows.data(), 2, 3).leaves == leaves.leaves);
    const std::vector<double> splits = model.importance(MODELSERVE_IMPORTANCE_SPLITS);
    CHECK(splits.size() == 3 && splits[0] + splits[1] + splits[2] > 0);
    CHECK(status_of([&] { model.importance(99); }) == MODELSERVE_STATUS_INVALID_ARGUMENT);
    CHECK(status_of([&] { model.apply(wide.data(), 1, 6); }) == MODELSERVE_STATUS_INVALID_INPUT);
    CHECK(status_of([&] { modelserve::Model().explain(wide.data(), 2, 3); }) ==
          MODELSERVE_STATUS_INVALID_HANDLE);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    doubles(modelserve::Model::load(argv[1]));
    explained(argv[2]);
    explained(argv[3]);
    CHECK(modelserve_live_handles() == 0);
    return 0;
}
