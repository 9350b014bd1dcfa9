// SPDX-License-Identifier: Apache-2.0
// Words are `name=value` or bare. A bare codec stores keys and values; a bare transform belongs to
// the code just before it, after a bare codec to its keys only, since that is where rotation pays.
// A bare selector is `keep=`.
#include "plan/one_line.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "base/nearest.hpp"
#include "plan/presets.hpp"
#include "plan/read_keep.hpp"

namespace skvis {
namespace {

std::vector<std::string_view> words_of(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = line.find_first_not_of(kSpace);
    if (begin == line.npos) return words;
    const size_t end = std::min(line.find_first_of(kSpace, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

bool contains(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::vector<std::string_view> codec_names() {
  std::vector<std::string_view> names;
  for (const Codec* codec : codecs()) names.push_back(codec->name);
  return names;
}

std::vector<std::string_view> transform_names() {
  std::vector<std::string_view> names;
  for (const Transform* transform : transforms()) names.push_back(transform->name);
  return names;
}

bool is_selector(std::string_view word) {
  const std::string_view name = word.substr(0, word.find(':'));
  return name == "all" || find_selector(name) != nullptr;
}

// "64", "0.5", "true", "16,32" as JSON; anything else as text.
Json value_of(std::string_view text) {
  if (text == "true" || text == "false") return text == "true";
  if (text.find(',') != text.npos && text.find_first_not_of("0123456789,") == text.npos) {
    Json list = Json::array();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      list.push_back(value_of(text.substr(begin, end - begin)));
      begin = end + 1;
    }
    return list;
  }
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  if (const auto [at, error] = std::from_chars(text.data(), end, whole);
      error == std::errc() && at == end) {
    return whole;
  }
  double number = 0;
  if (const auto [at, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && at == end) {
    return number;
  }
  return std::string(text);
}

class LineReader {
 public:
  LineReader(Json base, Problems& problems) : plan_(std::move(base)), problems_(problems) {}

  void read(std::string_view word) {
    const size_t equals = word.find('=');
    if (equals == word.npos) return read_bare(word);
    const std::string_view name = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    code_ = nullptr;
    if (contains(seen_, name)) return problems_.add("'{}' is given twice", name);
    if (name == "key" || name == "value") {
      seen_.push_back(name);
      code_ = name == "key" ? &key_ : &value_;
      *code_ = std::string(value);
    } else if (name == "keep") {
      set_keep(value);
    } else if (contains(plan_keys(), name)) {
      seen_.push_back(name);
      plan_[std::string(name)] = value_of(value);
    } else if (contains(keep_keys_with_parameters(), name) && name != "table") {
      seen_.push_back(name);
      const bool range = name == "layers" || name == "heads";
      keep_settings_[std::string(name)] = range ? Json(std::string(value)) : value_of(value);
    } else {
      std::vector<std::string_view> names = plan_keys();
      for (const std::string_view key : keep_keys_with_parameters()) names.push_back(key);
      problems_.add("unknown key {}{}", in_quotes(name), suggestion(name, names));
    }
  }

  Json finish() {
    if (!transform_.empty() && key_.empty()) {
      problems_.add("the transform '{}' stands without a codec", transform_);
    }
    if (!key_.empty() || !value_.empty()) {
      if (!plan_.contains("store")) plan_["store"] = Json::array();
      Json rule = Json::object();
      if (!key_.empty()) rule["key"] = transform_.empty() ? key_ : key_ + " " + transform_;
      if (!value_.empty()) rule["value"] = value_;
      if (plan_["store"].is_array()) plan_["store"].push_back(std::move(rule));
    }
    if (!keep_settings_.empty()) {
      if (plan_.contains("keep") && plan_["keep"].is_string()) {
        plan_["keep"] = keep_from_text(plan_["keep"].get<std::string>(), problems_);
      }
      if (!plan_.contains("keep")) {
        problems_.add("'{}' belongs to a selector; add one, as in keep=snapkv:0.5",
                      keep_settings_.items().begin().key());
      } else if (plan_["keep"].is_object()) {
        plan_["keep"].update(keep_settings_);
      }
    }
    return std::move(plan_);
  }

 private:
  void read_bare(std::string_view word) {
    if (contains(transform_names(), word)) {
      std::string& target = code_ != nullptr ? *code_ : transform_;
      if (!target.empty()) target += ' ';
      target += word;
      return;
    }
    code_ = nullptr;
    if (contains(codec_names(), word)) {
      if (contains(seen_, "codec")) {
        return problems_.add("{} is a second codec; say key= and value= where they differ",
                             in_quotes(word));
      }
      seen_.push_back("codec");
      if (key_.empty()) key_ = word;
      if (value_.empty()) value_ = word;
    } else if (is_selector(word)) {
      set_keep(word);
    } else {
      std::vector<std::string_view> names = codec_names();
      for (const std::string_view name : transform_names()) names.push_back(name);
      for (const Selector* selector : selectors()) names.push_back(selector->name);
      for (const Preset& preset : built_in_presets()) names.push_back(preset.name);
      const std::string_view stem = word.substr(0, word.find(':'));
      problems_.add("unknown word {}{}", in_quotes(word), suggestion(stem, names));
    }
  }

  void set_keep(std::string_view text) {
    if (contains(seen_, "keep")) return problems_.add("'keep' is given twice");
    seen_.push_back("keep");
    plan_["keep"] = keep_from_text(text, problems_);
  }

  Json plan_;
  Problems& problems_;
  std::vector<std::string_view> seen_;
  std::string key_;
  std::string value_;
  std::string transform_;        // bare, waiting for the key's code
  std::string* code_ = nullptr;  // the code that the last word was part of
  Json keep_settings_ = Json::object();
};

}  // namespace

bool is_bare_word(std::string_view word) {
  return contains(codec_names(), word) || contains(transform_names(), word) || is_selector(word);
}

Json plan_from_line(std::string_view line, Json base, Problems& problems) {
  LineReader reader(std::move(base), problems);
  for (const std::string_view word : words_of(line)) reader.read(word);
  return reader.finish();
}

}  // namespace skvis
