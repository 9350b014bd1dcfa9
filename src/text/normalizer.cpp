// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>

#include "text/utf8.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxGrowth = 64;
constexpr size_t kGrowthAllowance = size_t{1} << 20;
constexpr size_t kMaxRewritten = size_t{1} << 30;  // offsets in pieces have 32 bits

Error grown(size_t bytes, size_t max_bytes) {
  return fail("the tokenizer's rewriting makes a text of {} bytes, at most {} are allowed", bytes,
              max_bytes);
}

const icu::Normalizer2* icu_normalizer(UnicodeForm form, UErrorCode& status) {
  switch (form) {
    case UnicodeForm::kNfc:
      return icu::Normalizer2::getNFCInstance(status);
    case UnicodeForm::kNfd:
      return icu::Normalizer2::getNFDInstance(status);
    case UnicodeForm::kNfkc:
      return icu::Normalizer2::getNFKCInstance(status);
    case UnicodeForm::kNfkd:
      return icu::Normalizer2::getNFKDInstance(status);
  }
  return nullptr;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Result<std::string> to_form(std::string_view text, UnicodeForm form) {
  if (is_ascii(text)) return std::string(text);
  if (text.size() > INT32_MAX)
    return fail("text of {} bytes is too long to normalize", text.size());
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu_normalizer(form, status);
  std::string result;
  if (U_SUCCESS(status)) {
    result.reserve(text.size());
    icu::StringByteSink<std::string> sink(&result);
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
                              sink, nullptr, status);
  }
  if (U_FAILURE(status)) return fail("Unicode normalization failed: {}", u_errorName(status));
  return result;
}

size_t previous_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return begin;
}

bool is_space_at(std::string_view text, size_t offset) {
  return u_isUWhiteSpace(static_cast<UChar32>(utf8_code_point(text.substr(offset)))) != 0;
}

}  // namespace

size_t max_rewritten_bytes(size_t bytes) {
  return std::min(kMaxGrowth * bytes + kGrowthAllowance, kMaxRewritten);
}

std::string_view strip_spaces(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && is_space_at(text, 0)) text.remove_prefix(utf8_length(text[0]));
  while (right && !text.empty()) {
    const size_t last = previous_character(text, text.size());
    if (!is_space_at(text, last)) break;
    text = text.substr(0, last);
  }
  return text;
}

Result<Replacer> Replacer::create(const ReplaceText& step) {
  Replacer replacer;
  replacer.content_ = step.content;
  if (step.pattern.is_regex) {
    SKVIS_TRY(Regex regex, Regex::compile(step.pattern.text));
    replacer.regex_.push_back(std::move(regex));
  } else {
    replacer.literal_ = step.pattern.text;
  }
  return replacer;
}

Result<std::string> Replacer::apply(std::string_view text, size_t max_bytes) const {
  std::vector<TextRange> matches;
  if (regex_.empty()) {
    size_t from = 0;
    for (size_t at; !literal_.empty() && (at = text.find(literal_, from)) != text.npos;) {
      from = at + literal_.size();
      matches.push_back({at, from});
    }
  } else {
    SKVIS_CHECK(regex_[0].find_all(text, {0, text.size()}, matches));
  }
  const size_t most = text.size() + matches.size() * content_.size();
  if (most > max_bytes) return grown(most, max_bytes);
  std::string result;
  size_t done = 0;
  for (const TextRange match : matches) {
    result += text.substr(done, match.begin - done);
    result += content_;
    done = match.end;
  }
  result += text.substr(done);
  return result;
}

Result<Normalizer> Normalizer::create(const std::vector<NormalizerStep>& steps) {
  Normalizer normalizer;
  for (const NormalizerStep& step : steps) {
    if (const auto* replace = std::get_if<ReplaceText>(&step)) {
      SKVIS_TRY(Replacer replacer, Replacer::create(*replace));
      normalizer.steps_.emplace_back(std::move(replacer));
    } else if (const auto* prepend = std::get_if<PrependText>(&step)) {
      normalizer.steps_.emplace_back(*prepend);
    } else if (const auto* strip = std::get_if<StripText>(&step)) {
      normalizer.steps_.emplace_back(*strip);
    } else {
      normalizer.steps_.emplace_back(std::get<UnicodeForm>(step));
    }
  }
  return normalizer;
}

Result<std::string> Normalizer::apply(std::string_view text) const {
  const size_t max_bytes = max_rewritten_bytes(text.size());
  std::string current(text);
  for (const Step& step : steps_) {
    if (const auto* replacer = std::get_if<Replacer>(&step)) {
      SKVIS_TRY(current, replacer->apply(current, max_bytes));
    } else if (const auto* prepend = std::get_if<PrependText>(&step)) {
      if (!current.empty()) current.insert(0, prepend->text);
    } else if (const auto* strip = std::get_if<StripText>(&step)) {
      current = std::string(strip_spaces(current, strip->left, strip->right));
    } else {
      SKVIS_TRY(current, to_form(current, std::get<UnicodeForm>(step)));
    }
    if (current.size() > max_bytes) return grown(current.size(), max_bytes);
  }
  return current;
}

}  // namespace skvis
