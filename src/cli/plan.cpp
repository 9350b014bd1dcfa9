// SPDX-License-Identifier: Apache-2.0
// `skvis plan`: what a plan does to each layer and head, and what it costs.
#include "base/bytes.hpp"
#include "cli/command.hpp"
#include "model/cache_shape.hpp"
#include "plan/table.hpp"

namespace skvis {
namespace {

struct PlanCommand {
  std::string plan;
  std::string model = "smollm2";
  uint32_t tokens = 4096;
  bool json = false;
};

Result<void> show_plan(const PlanCommand& options) {
  SKVIS_TRY(const auto path, find_model(options.model));
  SKVIS_TRY(const ModelFiles files, ModelFiles::open(path));
  SKVIS_TRY(const Plan plan, resolve_plan(options.plan, cache_shape(files.config())));
  // A pool gives the pages their sizes; none of its memory is touched.
  SKVIS_TRY(Pool pool, Pool::create(size_t{1} << 30));
  SKVIS_TRY(const CacheLayout layout, CacheLayout::create(plan, pool));
  const size_t reserved = layout.worst_case_bytes(options.tokens, options.tokens);
  if (options.json) {
    Json json = plan_to_json(plan);
    const PlanBytes bytes = plan_bytes(plan, options.tokens);
    json["tokens"] = options.tokens;
    json["bytes"] = {{"settled", bytes.settled},
                     {"full_cache", bytes.full},
                     {"settled_per_token", bytes.settled_per_token},
                     {"full_cache_per_token", bytes.full_per_token},
                     {"reserved", reserved}};
    fmt::print("{}\n", dump_json(json, 2));
    return {};
  }
  fmt::print("{}", plan_table(plan, options.tokens));
  fmt::print(
      "reserved when admitted: {} for a prompt of {} tokens, in whole pages, with the rows of "
      "one grid step exact\n",
      format_bytes(static_cast<double>(reserved)), options.tokens);
  return {};
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto options = std::make_shared<PlanCommand>();
  CLI::App* command = app.add_subcommand("plan", "Show what a KV plan does and what it costs");
  command->add_option("plan", options->plan, "A preset, a JSON file, or one line")->required();
  command->add_option("-m,--model", options->model, "For which model")->capture_default_str();
  command->add_option("--tokens", options->tokens, "Bytes for so many tokens")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  command->add_flag("--json", options->json, "As JSON");
  command->footer(
      "Examples:\n  skvis plan int8\n  skvis plan \"key=int4 value=int4 keep=snapkv:0.5\" --tokens "
      "8192");
  command->callback([options, &action] { action = [options] { return show_plan(*options); }; });
}

}  // namespace skvis
