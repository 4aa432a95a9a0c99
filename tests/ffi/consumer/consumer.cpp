// A program of another project: asks the model that it is given, and says what it linked.
#include <modelserve.hpp>

#include <exception>
#include <iostream>
#include <vector>

int main(int argc, char **argv) {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " MODEL\n";
        return 2;
    }
    if (modelserve_abi_version() != MODELSERVE_ABI_VERSION) {
        std::cerr << "compiled for another interface than that of the library\n";
        return 1;
    }
    try {
        const std::vector<float> row = {5.9f, 3.0f, 5.1f, 1.8f};
        const modelserve::Model model = modelserve::Model::load(argv[1]);
        const modelserve_prediction answer = model.predict(row);
        std::cout << "modelserve " << modelserve_version() << ": label " << answer.label << '\n';
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
