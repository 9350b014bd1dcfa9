// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_json_steps.hpp"

#include <functional>

namespace skvis {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, SentencePiece's space

// Calls `parse(step, type, where)` for `value` or, for a Sequence, for each step in `list_key`.
Result<void> for_each_step(
    const Json& value, std::string_view list_key, const std::string& where, size_t& count,
    const std::function<Result<void>(const Json&, const std::string&, const std::string&)>& parse) {
  if (value.is_null()) return {};
  if (!value.is_object()) {
    return fail("{} must be an object or null, found {}", where, json_type(value));
  }
  SKVIS_TRY(const std::string type, json_string(value, "type", where));
  if (type != "Sequence") {
    if (++count > kMaxTokenizerSteps) {
      return fail("{}: more than {} steps", where, kMaxTokenizerSteps);
    }
    return parse(value, type, where);
  }
  const Json& list = json_member(value, list_key);
  if (!list.is_array()) {
    return fail("{}: '{}' must be an array, found {}", where, list_key, json_type(list));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    SKVIS_CHECK(for_each_step(list[i], list_key, fmt::format("{}.{}[{}]", where, list_key, i),
                              count, parse));
  }
  return {};
}

Result<TextPattern> parse_pattern(const Json& step, const std::string& where) {
  const Json& pattern = json_member(step, "pattern");
  if (pattern.is_string()) return TextPattern{pattern.get<std::string>(), false};
  for (const bool is_regex : {false, true}) {
    const Json& text = json_member(pattern, is_regex ? "Regex" : "String");
    if (text.is_string()) return TextPattern{text.get<std::string>(), is_regex};
  }
  return fail("{}: 'pattern' must be {{\"String\": text}} or {{\"Regex\": text}}, found {}", where,
              json_type(pattern));
}

Result<ReplaceText> parse_replace(const Json& step, const std::string& where) {
  SKVIS_TRY(TextPattern pattern, parse_pattern(step, where));
  SKVIS_TRY(std::string content, json_string(step, "content", where));
  return ReplaceText{std::move(pattern), std::move(content)};
}

Result<SplitBehavior> parse_behavior(const Json& step, const std::string& where,
                                     std::string_view fallback) {
  SKVIS_TRY(const std::string name, json_string_or(step, "behavior", where, fallback));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return fail(
      "{}: 'behavior' is '{}', expected Isolated, Removed, MergedWithPrevious, MergedWithNext or "
      "Contiguous",
      where, name);
}

// Older files say add_prefix_space, newer ones prepend_scheme.
Result<PrependScheme> parse_prepend_scheme(const Json& step, const std::string& where) {
  SKVIS_TRY(const bool add, json_bool_or(step, "add_prefix_space", where, true));
  SKVIS_TRY(const std::string name,
            json_string_or(step, "prepend_scheme", where, add ? "always" : "never"));
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return fail("{}: 'prepend_scheme' is '{}', expected always, first or never", where, name);
}

Result<void> check_mark(std::string_view mark, const std::string& where) {
  if (!mark.empty() && mark.size() <= 4) return {};  // the longest character in UTF-8
  return fail("{}: 'replacement' has {} bytes, expected one character", where, mark.size());
}

Result<void> add_normalizer(const Json& step, const std::string& type, const std::string& where,
                            std::vector<NormalizerStep>& steps) {
  if (type == "NFC") {
    steps.emplace_back(UnicodeForm::kNfc);
  } else if (type == "NFD") {
    steps.emplace_back(UnicodeForm::kNfd);
  } else if (type == "NFKC") {
    steps.emplace_back(UnicodeForm::kNfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(UnicodeForm::kNfkd);
  } else if (type == "Prepend") {
    SKVIS_TRY(std::string text, json_string(step, "prepend", where));
    steps.emplace_back(PrependText{std::move(text)});
  } else if (type == "Replace") {
    SKVIS_TRY(ReplaceText replace, parse_replace(step, where));
    steps.emplace_back(std::move(replace));
  } else if (type == "Strip") {
    SKVIS_TRY(const bool left, json_bool_or(step, "strip_left", where, true));
    SKVIS_TRY(const bool right, json_bool_or(step, "strip_right", where, true));
    steps.emplace_back(StripText{left, right});
  } else {
    return fail(
        "{}: normalizer '{}' is not supported, expected NFC, NFD, NFKC, NFKD, Prepend, Replace, "
        "Strip or Sequence",
        where, type);
  }
  return {};
}

Result<void> add_pre_tokenizer(const Json& step, const std::string& type, const std::string& where,
                               std::vector<PreTokenizerStep>& steps) {
  const auto split = [&](std::string_view regex, SplitBehavior behavior, bool invert = false) {
    steps.emplace_back(SplitPieces{{std::string(regex), true}, behavior, invert});
  };
  if (type == "Split") {
    SKVIS_TRY(TextPattern pattern, parse_pattern(step, where));
    SKVIS_TRY(const SplitBehavior behavior, parse_behavior(step, where, ""));
    SKVIS_TRY(const bool invert, json_bool_or(step, "invert", where, false));
    steps.emplace_back(SplitPieces{std::move(pattern), behavior, invert});
  } else if (type == "ByteLevel") {
    SKVIS_TRY(const bool prefix, json_bool_or(step, "add_prefix_space", where, true));
    SKVIS_TRY(const bool use_regex, json_bool_or(step, "use_regex", where, true));
    steps.emplace_back(SpellBytes{prefix, use_regex});
  } else if (type == "Metaspace") {
    SKVIS_TRY(std::string mark, json_string_or(step, "replacement", where, kSpaceMark));
    SKVIS_TRY(const PrependScheme prepend, parse_prepend_scheme(step, where));
    SKVIS_TRY(const bool cut, json_bool_or(step, "split", where, true));
    SKVIS_CHECK(check_mark(mark, where));
    steps.emplace_back(MarkSpaces{std::move(mark), prepend, cut});
  } else if (type == "Digits") {
    SKVIS_TRY(const bool individual, json_bool_or(step, "individual_digits", where, false));
    split("\\p{N}", individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  } else if (type == "Punctuation") {
    SKVIS_TRY(const SplitBehavior behavior, parse_behavior(step, where, "Isolated"));
    split("[\\p{P}$+<=>^`|~]", behavior);
  } else if (type == "Whitespace") {
    split("\\w+|[^\\w\\s]+", SplitBehavior::kRemoved, true);
  } else if (type == "WhitespaceSplit") {
    split("\\s", SplitBehavior::kRemoved);
  } else {
    return fail(
        "{}: pre-tokenizer '{}' is not supported, expected Split, ByteLevel, Metaspace, Digits, "
        "Punctuation, Whitespace, WhitespaceSplit or Sequence",
        where, type);
  }
  return {};
}

Result<void> add_decoder(const Json& step, const std::string& type, const std::string& where,
                         std::vector<DecoderStep>& steps) {
  if (type == "ByteLevel") {
    steps.emplace_back(DecodeBytes{});
  } else if (type == "ByteFallback") {
    steps.emplace_back(DecodeFallback{});
  } else if (type == "Fuse") {
    steps.emplace_back(FuseTokens{});
  } else if (type == "Replace") {
    SKVIS_TRY(ReplaceText replace, parse_replace(step, where));
    steps.emplace_back(std::move(replace));
  } else if (type == "Strip") {
    constexpr int64_t kMaxStrip = 1 << 20;
    SKVIS_TRY(std::string content, json_string_or(step, "content", where, " "));
    SKVIS_TRY(const int64_t start, json_int_or(step, "start", where, 0, kMaxStrip, 0));
    SKVIS_TRY(const int64_t stop, json_int_or(step, "stop", where, 0, kMaxStrip, 0));
    steps.emplace_back(
        StripEnds{std::move(content), static_cast<size_t>(start), static_cast<size_t>(stop)});
  } else if (type == "Metaspace") {
    // The mark is a space again, and the one that the pre-tokenizer put at the start goes.
    SKVIS_TRY(std::string mark, json_string_or(step, "replacement", where, kSpaceMark));
    SKVIS_TRY(const PrependScheme prepend, parse_prepend_scheme(step, where));
    SKVIS_CHECK(check_mark(mark, where));
    steps.emplace_back(ReplaceText{{std::move(mark), false}, " "});
    if (prepend != PrependScheme::kNever) {
      steps.emplace_back(FuseTokens{});
      steps.emplace_back(StripEnds{" ", 1, 0});
    }
  } else {
    return fail(
        "{}: decoder '{}' is not supported, expected ByteLevel, ByteFallback, Fuse, Replace, "
        "Strip, "
        "Metaspace or Sequence",
        where, type);
  }
  return {};
}

template <typename Step>
Result<std::vector<Step>> parse_steps(const Json& value, std::string_view name,
                                      std::string_view list_key, std::string_view origin,
                                      Result<void> (*add)(const Json&, const std::string&,
                                                          const std::string&, std::vector<Step>&)) {
  std::vector<Step> steps;
  size_t count = 0;
  SKVIS_CHECK(
      for_each_step(value, list_key, fmt::format("{}: {}", origin, name), count,
                    [&](const Json& step, const std::string& type, const std::string& where) {
                      return add(step, type, where, steps);
                    }));
  return steps;
}

}  // namespace

const Json& json_member(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

Result<std::vector<NormalizerStep>> parse_normalizer(const Json& value, std::string_view origin) {
  return parse_steps<NormalizerStep>(value, "normalizer", "normalizers", origin, add_normalizer);
}

Result<std::vector<PreTokenizerStep>> parse_pre_tokenizer(const Json& value,
                                                          std::string_view origin) {
  return parse_steps<PreTokenizerStep>(value, "pre_tokenizer", "pretokenizers", origin,
                                       add_pre_tokenizer);
}

Result<std::vector<DecoderStep>> parse_decoder(const Json& value, std::string_view origin) {
  return parse_steps<DecoderStep>(value, "decoder", "decoders", origin, add_decoder);
}

}  // namespace skvis
