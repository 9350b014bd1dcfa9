// SPDX-License-Identifier: Apache-2.0
#include "text/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/utf8.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
// Steps and heap one match may take. A match over a run of n characters takes a few n steps; the
// fixed part stops patterns that backtrack exponentially.
constexpr uint32_t kMatchSteps = 100'000;
constexpr size_t kStepsPerByte = 32;
constexpr uint32_t kMatchHeapKib = 65536;
constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackMax = 1024 * 1024;

std::string pcre_message(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0) return "unknown error";
  return reinterpret_cast<const char*>(buffer);
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeStack {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

// What one thread needs to match: the limits, the JIT's stack, and room for the range of the match.
struct Matcher {
  std::unique_ptr<pcre2_match_data, FreeMatch> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeContext> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreeStack> stack{
      pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr)};

  Matcher() {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    pcre2_set_heap_limit(context.get(), kMatchHeapKib);
  }
};

}  // namespace

struct Regex::State {
  std::string pattern;
  pcre2_code* code = nullptr;
  ~State() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<State> state) : state_(std::move(state)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return fail("regular expression of {} bytes, at most {} are allowed", pattern.size(),
                kMaxPatternBytes);
  }
  auto translated = translate_regex(pattern);
  if (!translated) {
    return fail("regular expression '{}': {}", pattern, translated.error().message);
  }
  auto state = std::make_unique<State>();
  state->pattern = pattern;
  int error = 0;
  PCRE2_SIZE offset = 0;
  // \C would cut characters apart and break the promise that ranges lie between characters.
  state->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (state->code == nullptr) {
    return fail("regular expression '{}' (read as '{}') is wrong at offset {}: {}", pattern,
                *translated, offset, pcre_message(error));
  }
  // Where the JIT is missing or refuses the pattern, pcre2_match() interprets it.
  (void)pcre2_jit_compile(state->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(state));
}

Result<void> Regex::find_all(std::string_view text, TextRange within,
                             std::vector<TextRange>& matches) const {
  thread_local Matcher matcher;
  const size_t length = within.end - within.begin;
  const size_t steps = std::min<size_t>(kMatchSteps + kStepsPerByte * length, UINT32_MAX);
  pcre2_set_match_limit(matcher.context.get(), static_cast<uint32_t>(steps));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data() + within.begin);
  size_t start = 0;
  size_t last_end = length + 1;  // where the previous match ended; none yet
  while (start <= length) {
    const int code = pcre2_match(state_->code, subject, length, start, PCRE2_NO_UTF_CHECK,
                                 matcher.data.get(), matcher.context.get());
    if (code == PCRE2_ERROR_NOMATCH) return {};
    if (code < 0) {
      return fail("regular expression '{}' gave up at byte {} of a piece of {} bytes: {}",
                  state_->pattern, start, length, pcre_message(code));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(matcher.data.get());
    // \K in a look-around can turn a match around or put it before the start; such are no matches.
    if (ends[0] < start || ends[1] < ends[0]) {
      return fail("regular expression '{}' uses \\K in a way that is not supported",
                  state_->pattern);
    }
    const bool empty = ends[0] == ends[1];
    if (!empty || ends[0] != last_end) {
      matches.push_back({within.begin + ends[0], within.begin + ends[1]});
    }
    last_end = ends[1];
    start = ends[1];
    if (empty) {
      if (start >= length) return {};
      start += utf8_length(text[within.begin + start]);
    }
  }
  return {};
}

}  // namespace skvis
