#include "runtime/cli/cli.hpp"

int main(int argc, char** argv) { return millrace::runtime::cli::run(argc, argv); }
