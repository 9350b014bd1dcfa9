// SPDX-License-Identifier: Apache-2.0
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/file.hpp"
#include "base/nearest.hpp"
#include "plan/data.hpp"
#include "plan/one_line.hpp"
#include "plan/plan.hpp"
#include "plan/presets.hpp"
#include "plan/resolve_heads.hpp"

namespace skvis {
namespace {

constexpr uint32_t kDefaultSinks = 4;   // StreamingLLM: enough for every model they tried
constexpr uint32_t kDefaultExact = 32;  // KIVI's residual, in its shorter published setting
constexpr double kCoarseBits = 8;       // codes below keep an exact tail by default
constexpr size_t kLongestLine = 16384;
constexpr uint32_t kMostLayers = 4096;
constexpr uint32_t kMostHeads = 4096;

Result<void> check_shape(const CacheShape& shape) {
  const bool counts = shape.layers > 0 && shape.layers <= kMostLayers && shape.kv_heads > 0 &&
                      shape.kv_heads <= kMostHeads && shape.query_heads % shape.kv_heads == 0 &&
                      shape.query_heads > 0;
  if (!counts || shape.head_dim == 0 || shape.head_dim > kMaxHeadDim) {
    return fail(
        "a cache of {} layers, {} query heads, {} KV heads and head_dim {} is impossible;"
        " expected at most {} layers, {} KV heads and head_dim {}",
        shape.layers, shape.query_heads, shape.kv_heads, shape.head_dim, kMostLayers, kMostHeads,
        kMaxHeadDim);
  }
  const bool windows = shape.window.empty() || shape.window.size() == shape.layers;
  bool owners = shape.owner.empty() || shape.owner.size() == shape.layers;
  for (const uint32_t owner : shape.owner) {
    owners = owners && owner < shape.layers && shape.owner[owner] == owner;
  }
  if (!windows || !owners) {
    return fail("the cache's windows or owners do not match its {} layers", shape.layers);
  }
  return {};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// A plan as its author wrote it, as an object, and what to call it.
struct Source {
  Json json;
  std::string name;
  std::filesystem::path folder = {};  // where it lies: its data file is named from there
};

Result<Source> from_json(std::string_view text, std::string_view origin, std::string name) {
  SKVIS_TRY(Json json, parse_json(text, origin, 8));
  return Source{std::move(json), std::move(name)};
}

Result<Source> from_line(std::string_view line, const PlanOptions& options, Problems& problems) {
  const std::string name(line.substr(0, 120));
  if (line.size() > kLongestLine) {
    return fail("plan {}: {} characters are too many for one line, expected at most {}; use a file",
                in_quotes(line), line.size(), kLongestLine);
  }
  const std::string_view first = line.substr(0, line.find_first_of(" \t\r\n"));
  const std::string_view rest = trimmed(line.substr(first.size()));
  Json base = Json::object();
  if (rest.empty() || !is_bare_word(first)) {
    SKVIS_TRY(std::optional<std::string> preset, find_preset(first, options.plan_folder));
    if (preset && rest.empty()) return from_json(*preset, name, name);
    if (preset) {
      SKVIS_TRY(base, parse_json(*preset, first, 8));
      if (!base.is_object()) return fail("plan {}: the preset is no object", in_quotes(first));
      base.erase("name");
      line = rest;
    }
  }
  return Source{plan_from_line(line, std::move(base), problems), name};
}

Result<Source> read_source(std::string_view text, const PlanOptions& options, Problems& problems) {
  text = trimmed(text);
  if (text.empty()) {
    return fail(
        "the plan is empty; expected a preset such as int8, a JSON file, or one line such as"
        " \"key=int4 value=int4 keep=snapkv:0.5\"");
  }
  if (text.front() == '{') {
    if (text.size() > kLargestPlan) {
      return fail("the plan is {} bytes long, expected at most {}", text.size(), kLargestPlan);
    }
    return from_json(text, "plan", "custom");
  }
  const bool path =
      text.find('=') == text.npos && (text.ends_with(".json") || text.find('/') != text.npos);
  if (!path) return from_line(text, options, problems);
  SKVIS_TRY(std::string content, read_file(std::filesystem::path(text), kLargestPlan));
  SKVIS_TRY(Source source, from_json(content, text, std::filesystem::path(text).stem().string()));
  source.folder = std::filesystem::path(text).parent_path();
  return source;
}

bool is_coarse(const Code& code) {
  return code.codec->nominal_bits > 0 && code.codec->nominal_bits < kCoarseBits;
}

// Numbers that the plan left open.
void set_defaults(const PlanSpec& spec, Plan& plan) {
  const bool coarse = std::any_of(plan.heads.begin(), plan.heads.end(), [](const HeadPlan& head) {
    return is_coarse(head.key) || is_coarse(head.value);
  });
  const uint32_t observe = plan.drops() ? plan.keep.needs().observe : 0;
  plan.sinks = spec.sinks.value_or(plan.drops() ? kDefaultSinks : 0);
  plan.exact = spec.exact.value_or(coarse ? kDefaultExact : 0);
  plan.recent = spec.recent.value_or(observe);
}

// Everything that changes stored bytes, or which rows are stored; the plan's name does not.
uint64_t identity_of(const Plan& plan, std::string_view model_identity) {
  Json json = plan_to_json(plan);
  json.erase("name");
  const CacheShape& shape = plan.shape;
  const Json all = {{"format", "skvis plan 1"},
                    {"model", model_identity},
                    {"shape", {shape.layers, shape.query_heads, shape.kv_heads, shape.head_dim}},
                    {"scale", shape.attention_scale},
                    {"window", shape.window},
                    {"owner", shape.owner},
                    {"data", plan.keep.data_hash},
                    {"plan", std::move(json)}};
  const std::string text = dump_json(all);
  return XXH64(text.data(), text.size(), 0);
}

// Reads the data file that the plan names.
void resolve_data(const PlanSpec& spec, const std::filesystem::path& folder, Plan& plan,
                  Problems& problems) {
  if (!plan.drops() || spec.keep->data.empty() || !problems.empty()) return;
  const Result<SelectorData> data = read_selector_data(folder / spec.keep->data);
  if (!data) return problems.add("keep.data: {}", data.error().message);
  if (auto fits = plan.keep.selector->check_data(*data->tensors, plan.shape); !fits) {
    return problems.add("keep.data: {}: {}", spec.keep->data, fits.error().message);
  }
  plan.keep.data_file = spec.keep->data;
  plan.keep.data = data->tensors;
  plan.keep.data_hash = data->hash;
}

}  // namespace

Result<Plan> resolve_plan(std::string_view text, const CacheShape& shape,
                          const PlanOptions& options) {
  SKVIS_CHECK(check_shape(shape));
  Problems problems;
  SKVIS_TRY(Source source, read_source(text, options, problems));
  const PlanSpec spec = read_plan(source.json, problems);
  Plan plan;
  plan.name = spec.name.empty() ? source.name : spec.name;
  plan.shape = shape;
  plan.settle = spec.settle;
  plan.exact_type = options.precise ? ExactType::f32 : spec.exact_type;
  resolve_store(spec, options.precise, plan, problems);
  resolve_keep(spec, plan, problems);
  resolve_data(spec, source.folder, plan, problems);
  set_defaults(spec, plan);
  if (problems.empty()) check_plan(plan, problems);
  if (!problems.empty()) return problems.error(in_quotes(plan.name));
  plan.identity = identity_of(plan, options.model_identity);
  return plan;
}

}  // namespace skvis
