// SPDX-License-Identifier: Apache-2.0
#include "cli/main.hpp"

#include <csignal>
#include <cstdio>

#include "cli/command.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

constexpr const char* kExamples = R"(Examples:
  skvis serve                                  serve the default model at http://127.0.0.1:8080
  skvis run -p "What is the capital of France?"
  skvis run -i --kv int4                       a conversation over a 4-bit cache
  skvis plan "int4 snapkv:0.5" --tokens 4096   what a plan does and what it costs
  skvis model info model.gguf
  skvis bench attention                        speed against this machine's memory bandwidth
Every subcommand explains itself: skvis SUBCOMMAND --help
)";

std::string version() {
  std::string levels;
  for (const kernels::Level level : kernels::available_levels()) {
    levels += fmt::format(" {}", kernels::level_name(level));
  }
  return fmt::format("skvis {}\nkernels: {} (available:{})", SKVIS_VERSION,
                     kernels::level_name(kernels::active_kernels().level), levels);
}

}  // namespace

int run_cli(int argc, const char* const* argv) {
  // A reader that goes away is an error of that write, not of the program.
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("Skvis serves language models with a KV cache that is squeezed where it can be.",
               "skvis");
  app.set_version_flag("--version", version);
  app.footer(kExamples);
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default(false);
  Action action;
  add_serve(app, action);
  add_run(app, action);
  add_plan(app, action);
  add_model(app, action);
  add_logits(app, action);
  add_tokenize(app, action);
  add_grammar(app, action);
  add_eval(app, action);
  add_calibrate(app, action);
  add_bench(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 1;
  }
  Result<void> result;
  try {
    result = action();
  } catch (const std::bad_alloc&) {
    result = fail("out of memory");
  } catch (const std::exception& problem) {
    result = fail("{}", problem.what());
  }
  if (result) return 0;
  std::fflush(stdout);
  fmt::print(stderr, "skvis: {}\n", result.error().message);
  return 1;
}

}  // namespace skvis
