// SPDX-License-Identifier: Apache-2.0
#include "cli/main.hpp"

int main(int argc, char** argv) { return skvis::run_cli(argc, argv); }
