// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace skvis {

// The program: parses the command line, runs the subcommand, prints errors to standard error.
// Answers the exit code: 0, or 1 for every failure.
int run_cli(int argc, const char* const* argv);

}  // namespace skvis
