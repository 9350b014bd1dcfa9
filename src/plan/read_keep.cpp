// SPDX-License-Identifier: Apache-2.0
#include "plan/read_keep.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace skvis {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 30;
constexpr int64_t kMostBytes = int64_t{1} << 50;

std::vector<std::string_view> selector_names() {
  std::vector<std::string_view> names = {"all"};
  for (const Selector* selector : selectors()) names.push_back(selector->name);
  return names;
}

// At most one of ratio, tokens and (where allowed) bytes.
std::optional<Amount> read_amount(Fields& fields, const std::string& where, bool zero_allowed,
                                  bool bytes_allowed, Problems& problems) {
  std::optional<Amount> amount;
  if (const auto ratio = fields.number("ratio", 0, 1)) {
    if (!zero_allowed && *ratio <= 0) {
      problems.add("{}: 'ratio' must be above 0 and at most 1, found {}", where, *ratio);
    }
    amount = Amount{AmountUnit::ratio, *ratio};
  }
  if (const auto tokens = fields.whole("tokens", 1, kMostTokens)) {
    amount = Amount{AmountUnit::tokens, static_cast<double>(*tokens)};
  }
  if (bytes_allowed) {
    if (const auto bytes = fields.whole("bytes", 1, kMostBytes)) {
      amount = Amount{AmountUnit::bytes, static_cast<double>(*bytes)};
    }
  }
  const int given = fields.has("ratio") + fields.has("tokens") + fields.has("bytes");
  if (given > 1) {
    problems.add("{}: ratio, tokens and bytes exclude each other, found {} of them", where, given);
  }
  return amount;
}

double read_parameter(Fields& fields, const Parameter& parameter, Problems& problems) {
  if (!parameter.words.empty()) {
    const auto word = fields.word(parameter.name, parameter.words);
    return word ? static_cast<double>(*word) : parameter.fallback;
  }
  if (!parameter.whole) {
    return fields.number(parameter.name, parameter.min, parameter.max).value_or(parameter.fallback);
  }
  const auto value = fields.whole(parameter.name, static_cast<int64_t>(parameter.min),
                                  static_cast<int64_t>(parameter.max));
  if (!value) return parameter.fallback;
  if (parameter.odd && *value % 2 == 0) {
    problems.add("keep: '{}' must be odd, found {}", parameter.name, *value);
  }
  return static_cast<double>(*value);
}

// [layers][kv_heads] ratios or scores; its size is checked where the model is known.
void read_matrix(const Json& rows, KeepSpec& keep, Problems& problems) {
  const std::string_view what = keep.budget->table_of_scores ? "score" : "ratio";
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    std::vector<double> ratios;
    if (!rows[layer].is_array()) {
      problems.add("keep.table[{}] must be an array of {}s, found {}", layer, what,
                   json_type(rows[layer]));
    } else {
      for (const Json& ratio : rows[layer]) {
        const bool good = ratio.is_number() && ratio.get<double>() >= 0 && ratio.get<double>() <= 1;
        if (!good) {
          problems.add("keep.table[{}][{}] must be a {} from 0 to 1, found {}", layer,
                       ratios.size(), what, in_quotes(dump_json(ratio)));
        }
        ratios.push_back(good ? ratio.get<double>() : 0.0);
      }
    }
    keep.matrix.push_back(std::move(ratios));
  }
}

void read_table(const Json& table, KeepSpec& keep, Problems& problems) {
  if (!table.is_array() || table.empty() || table.size() > kMostRules) {
    problems.add(
        "keep.table must be an array of 1 to {} rules, or of one array per layer; found {}",
        kMostRules, table.is_array() ? fmt::format("{} of them", table.size()) : json_type(table));
    return;
  }
  if (table[0].is_array()) return read_matrix(table, keep, problems);
  if (keep.budget->table_of_scores) {
    problems.add("keep: budget '{}' reads a table of scores: one array per layer, one per KV head",
                 keep.budget->name);
    return;
  }
  for (size_t i = 0; i < table.size(); ++i) {
    TableSpec rule;
    rule.where.name = fmt::format("keep.table[{}]", i);
    Fields fields(table[i], rule.where.name, problems);
    if (!fields.is_object()) continue;
    read_where(fields, rule.where);
    const auto amount = read_amount(fields, rule.where.name, true, false, problems);
    if (!amount && !fields.has("ratio") && !fields.has("tokens")) {
      problems.add("{}: expected ratio or tokens", rule.where.name);
    }
    rule.amount = amount.value_or(Amount{});
    fields.refuse_unknown();
    keep.table.push_back(std::move(rule));
  }
}

void read_budget(Fields& fields, KeepSpec& keep, Problems& problems) {
  std::vector<std::string_view> names;
  for (const Budget* budget : budgets()) names.push_back(budget->name);
  const bool has_table = fields.has("table");
  keep.budget = find_budget(has_table ? "table" : "uniform");
  if (const auto index = fields.word("budget", names)) {
    keep.budget = budgets()[*index];
    if (keep.budget->needs_table != has_table) {
      problems.add("keep: budget '{}' {} a 'table'", keep.budget->name,
                   has_table ? "does not read" : "needs");
    }
  }
  if (const Json* table = fields.any("table")) read_table(*table, keep, problems);
  keep.amount = read_amount(fields, "keep", false, true, problems);
  const bool given = fields.has("ratio") || fields.has("tokens") || fields.has("bytes");
  // Beside a table of amounts one more is for the heads that the table leaves out.
  const bool wanted = keep.budget->takes_amount && (!has_table || keep.budget->table_of_scores);
  if (given && !keep.budget->takes_amount) {
    problems.add(
        "keep: budget '{}' takes no ratio, tokens or bytes; what its heads keep follows from {}",
        keep.budget->name, keep.budget->parameters[0].name);
  }
  if (wanted && !given) {
    problems.add("keep: how much? expected ratio, tokens or bytes; in short keep={}:0.5",
                 keep.selector->name);
  }
  if (wanted && !keep.budget->takes_bytes && fields.has("bytes")) {
    problems.add("keep: budget '{}' takes a ratio or tokens, not bytes", keep.budget->name);
  }
  if (has_table && !wanted && keep.amount && keep.amount->unit == AmountUnit::bytes) {
    problems.add(
        "keep: 'bytes' cannot stand beside a table; expected ratio or tokens for the heads"
        " that the table leaves out");
  }
}

// "refine": one name, names with commas, or an array of names.
void read_refine(const Json& value, KeepSpec& keep, Problems& problems) {
  std::vector<std::string> names;
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      names.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  } else if (value.is_array()) {
    for (const Json& name : value) names.push_back(name.is_string() ? name : Json(dump_json(name)));
  } else {
    return problems.add("keep.refine must be a name or an array of names, found {}",
                        json_type(value));
  }
  std::vector<std::string_view> known;
  for (const Refinement* refinement : refinements()) known.push_back(refinement->name);
  for (const std::string& name : names) {
    const Refinement* refinement = find_refinement(name);
    if (refinement == nullptr) {
      problems.add("keep.refine: unknown refinement {}{}", in_quotes(name),
                   suggestion(name, known));
    } else if (std::find(keep.refine.begin(), keep.refine.end(), refinement) != keep.refine.end()) {
      problems.add("keep.refine: '{}' is given twice", name);
    } else {
      keep.refine.push_back(refinement);
    }
  }
}

void read_data(Fields& fields, KeepSpec& keep, Problems& problems) {
  keep.data = fields.text("data").value_or("");
  const bool needed = keep.selector->check_data != nullptr;
  if (needed && keep.data.empty()) {
    problems.add("keep: '{}' needs 'data', the safetensors file that its calibration wrote",
                 keep.selector->name);
  } else if (!needed && !keep.data.empty()) {
    problems.add("keep: '{}' reads no 'data'", keep.selector->name);
  }
}

}  // namespace

void read_where(Fields& fields, Where& where) {
  const auto read = [&](std::string_view key, std::string& text) {
    const Json* value = fields.any(key);
    if (value == nullptr) return;
    if (value->is_number()) {
      text = dump_json(*value);
    } else if (const auto given = fields.text(key)) {
      text = *given;
    }
  };
  read("layers", where.layers);
  read("heads", where.heads);
}

KeepSpec read_keep(const Json& keep, Problems& problems) {
  if (keep.is_string()) {
    return read_keep(keep_from_text(keep.get_ref<const std::string&>(), problems), problems);
  }
  KeepSpec spec;
  spec.where.name = "keep";
  Fields fields(keep, "keep", problems);
  if (!fields.is_object()) return spec;
  const auto name = fields.text("selector");
  if (!name) {
    if (!fields.has("selector")) {
      problems.add("keep: 'selector' is missing, expected one of {}",
                   fmt::join(selector_names(), ", "));
    }
    return spec;
  }
  if (*name == "all") {
    if (keep.size() > 1) problems.add("keep: 'all' keeps every row and takes no other key");
    return spec;
  }
  spec.selector = find_selector(*name);
  if (spec.selector == nullptr) {
    problems.add("keep: unknown selector {}{}", in_quotes(*name),
                 suggestion(*name, selector_names()));
    return spec;
  }
  read_where(fields, spec.where);
  read_budget(fields, spec, problems);
  if (const Json* refine = fields.any("refine")) read_refine(*refine, spec, problems);
  read_data(fields, spec, problems);
  std::vector<std::span<const Parameter>> lists = {spec.selector->parameters,
                                                   spec.budget->parameters};
  for (const Refinement* refinement : spec.refine) lists.push_back(refinement->parameters);
  for (const std::span<const Parameter> parameters : lists) {
    for (const Parameter& parameter : parameters) {
      spec.settings.emplace(parameter.name, read_parameter(fields, parameter, problems));
    }
  }
  fields.refuse_unknown();
  return spec;
}

Json keep_from_text(std::string_view text, Problems& problems) {
  Json keep = Json::object();
  const size_t colon = text.find(':');
  keep["selector"] = std::string(text.substr(0, colon));
  if (colon == text.npos) return keep;
  const std::string_view amount = text.substr(colon + 1);
  double value = 0;
  const auto [end, error] = std::from_chars(amount.data(), amount.data() + amount.size(), value,
                                            std::chars_format::fixed);
  const std::string_view unit(end, static_cast<size_t>(amount.data() + amount.size() - end));
  const std::string_view digits = amount.substr(0, amount.size() - unit.size());
  const bool fraction = digits.find('.') != digits.npos;
  const double scale = unit == "B"     ? 1
                       : unit == "KiB" ? 0x1p10
                       : unit == "MiB" ? 0x1p20
                       : unit == "GiB" ? 0x1p30
                                       : 0;
  const bool number = error == std::errc() && std::isfinite(value) && value >= 0;
  if (number && unit.empty() && fraction) {
    keep["ratio"] = value;
  } else if (number && unit.empty() && value < 9e15) {
    keep["tokens"] = static_cast<int64_t>(value);
  } else if (number && scale > 0 && value * scale < 9e15) {
    keep["bytes"] = static_cast<int64_t>(value * scale);
  } else {
    problems.add(
        "keep: the amount {} of {} is not understood; expected a share such as 0.5, a"
        " number of tokens such as 256, or bytes such as 64MiB",
        in_quotes(amount), in_quotes(text.substr(0, colon)));
    keep["ratio"] = 1.0;
  }
  return keep;
}

std::vector<std::string_view> keep_keys() {
  return {"selector", "budget", "ratio", "tokens", "bytes",
          "table",    "refine", "data",  "layers", "heads"};
}

std::vector<std::string_view> keep_keys_with_parameters() {
  std::vector<std::string_view> keys = keep_keys();
  for (const Selector* selector : selectors()) {
    for (const Parameter& parameter : selector->parameters) keys.push_back(parameter.name);
  }
  for (const Refinement* refinement : refinements()) {
    for (const Parameter& parameter : refinement->parameters) keys.push_back(parameter.name);
  }
  for (const Budget* budget : budgets()) {
    for (const Parameter& parameter : budget->parameters) keys.push_back(parameter.name);
  }
  return keys;
}

}  // namespace skvis
