// SPDX-License-Identifier: Apache-2.0
#include "grammar/matcher.hpp"

#include <cassert>
#include <utility>

#include "base/json.hpp"

namespace skvis {
namespace {

constexpr std::string_view kTooAmbiguous =
    "the grammar is too ambiguous: one step needs more than its share of work or memory; write it "
    "so that fewer alternatives fit the same text";

std::string quote(std::string_view text) {
  constexpr size_t kShown = 40;
  return dump_json(Json(std::string(text.substr(0, kShown)))) + (text.size() > kShown ? "..." : "");
}

}  // namespace

std::string describe_bytes(const ByteSet& bytes) {
  constexpr int kRanges = 8;
  if (bytes.none()) return "the end of the text";
  const auto name = [](size_t byte) {
    return byte > 0x20 && byte < 0x7f ? fmt::format("'{}'", static_cast<char>(byte))
                                      : fmt::format("0x{:02x}", byte);
  };
  std::string list;
  int ranges = 0;
  for (size_t first = 0; first < 256; ++first) {
    if (!bytes[first]) continue;
    size_t last = first;
    while (last < 255 && bytes[last + 1]) ++last;
    if (ranges++ == kRanges) return list + ", ...";
    if (!list.empty()) list += ", ";
    list += name(first);
    if (last > first) list += " to " + name(last);
    first = last;
  }
  return list;
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<TokenAutomaton> automaton)
    : automaton_(std::move(automaton)) {
  const std::lock_guard lock(automaton_->mutex_);
  automaton_->begin_call();
  place_ = automaton_->add_place(automaton_->configurations_->start());
}

GrammarMatcher::GrammarMatcher(const GrammarMatcher& other) : automaton_(other.automaton_) {
  if (!automaton_) return;
  const std::lock_guard lock(automaton_->mutex_);
  place_ = automaton_->add_place(automaton_->places_[other.place_]);
}

GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  if (this != &other) *this = GrammarMatcher(other);
  return *this;
}

GrammarMatcher::GrammarMatcher(GrammarMatcher&& other) noexcept
    : automaton_(std::exchange(other.automaton_, nullptr)), place_(other.place_) {}

GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&& other) noexcept {
  if (this == &other) return *this;
  release();
  automaton_ = std::exchange(other.automaton_, nullptr);
  place_ = other.place_;
  return *this;
}

GrammarMatcher::~GrammarMatcher() {
  release();
}

void GrammarMatcher::release() {
  if (!automaton_) return;
  const std::lock_guard lock(automaton_->mutex_);
  automaton_->places_[place_] = Configurations::kDead;
  automaton_->free_places_.push_back(place_);
}

Result<ConfigurationId> GrammarMatcher::follow(ConfigurationId id, std::string_view bytes,
                                               size_t from, size_t& at) const {
  Configurations& configurations = *automaton_->configurations_;
  for (at = from; at < bytes.size(); ++at) {
    const ConfigurationId next = configurations.next(id, static_cast<uint8_t>(bytes[at]));
    if (configurations.exhausted()) return Error{std::string(kTooAmbiguous)};
    if (next != Configurations::kDead) {
      id = next;
      continue;
    }
    ByteSet allowed;
    for (const auto& item : configurations.items(id)) {
      allowed |= automaton_->grammar_.first(item.state);
    }
    return fail("{} at byte {} does not fit the grammar: expected {}{}", quote(bytes.substr(at)),
                at, describe_bytes(allowed),
                configurations.ends(id) && allowed.any() ? ", or the end of the text" : "");
  }
  return id;
}

Result<void> GrammarMatcher::accept_bytes(std::string_view bytes, size_t* fitting) {
  const std::lock_guard lock(automaton_->mutex_);
  // Long texts are accepted in one call: each piece may do the work of a token.
  constexpr size_t kPiece = 256;
  const uint32_t kept = automaton_->add_place(automaton_->places_[place_]);
  Result<void> result;
  size_t done = 0;
  do {
    automaton_->begin_call();
    size_t here = 0;
    const auto next =
        follow(automaton_->places_[place_], bytes.substr(0, done + kPiece), done, here);
    done = here;
    if (!next) {
      automaton_->places_[place_] = automaton_->places_[kept];
      result = fail("{}", next.error().message);
      break;
    }
    automaton_->places_[place_] = *next;
  } while (done < bytes.size());
  automaton_->places_[kept] = Configurations::kDead;
  automaton_->free_places_.push_back(kept);
  if (fitting != nullptr) *fitting = done;
  return result;
}

Result<void> GrammarMatcher::accept(uint32_t token) {
  const TokenVocabulary& vocabulary = automaton_->vocabulary();
  if (token >= vocabulary.size()) {
    return fail("token {} is outside the vocabulary of {} tokens", token, vocabulary.size());
  }
  const std::lock_guard lock(automaton_->mutex_);
  automaton_->begin_call();
  const ConfigurationId place = automaton_->places_[place_];
  if (vocabulary.is_end_token(token)) {
    if (automaton_->configurations_->ends(place)) return {};
    return fail("token {} ends the text, which the grammar does not allow here", token);
  }
  const std::string_view bytes = vocabulary.bytes(token);
  if (bytes.empty()) return fail("token {} is a control token, which no grammar allows", token);
  size_t at = 0;
  const auto next = follow(place, bytes, 0, at);
  if (!next) return fail("token {}: {}", token, next.error().message);
  automaton_->places_[place_] = *next;
  return {};
}

bool GrammarMatcher::can_end() const {
  const std::lock_guard lock(automaton_->mutex_);
  return automaton_->configurations_->ends(automaton_->places_[place_]);
}

ByteSet GrammarMatcher::next_bytes() const {
  const std::lock_guard lock(automaton_->mutex_);
  ByteSet bytes;
  for (const auto& item : automaton_->configurations_->items(automaton_->places_[place_])) {
    bytes |= automaton_->grammar_.first(item.state);
  }
  return bytes;
}

Result<size_t> GrammarMatcher::fill_mask(TokenMask& mask) {
  assert(mask.size() == automaton_->vocabulary().size());
  const std::lock_guard lock(automaton_->mutex_);
  automaton_->begin_call();
  if (!automaton_->masks_.fill(*automaton_->configurations_, automaton_->places_[place_], mask)) {
    return Error{std::string(kTooAmbiguous)};
  }
  return mask.count();
}

Result<std::string> GrammarMatcher::shortest_end(size_t max_bytes) const {
  const std::lock_guard lock(automaton_->mutex_);
  automaton_->begin_call();
  Configurations& configurations = *automaton_->configurations_;
  ConfigurationId id = automaton_->places_[place_];
  uint64_t left = configurations.shortest(id);
  if (left > max_bytes) {
    return fail("the shortest end has {} bytes, more than {}", left, max_bytes);
  }
  std::string text;
  while (left > 0) {
    configurations.allow_work();
    ByteSet allowed;
    for (const auto& item : configurations.items(id)) {
      allowed |= automaton_->grammar_.first(item.state);
    }
    ConfigurationId best = Configurations::kDead;
    for (size_t byte = 0; byte < 256 && best == Configurations::kDead; ++byte) {
      if (!allowed[byte]) continue;
      const ConfigurationId next = configurations.next(id, static_cast<uint8_t>(byte));
      if (next == Configurations::kDead || configurations.shortest(next) >= left) continue;
      best = next;
      text.push_back(static_cast<char>(byte));
    }
    if (best == Configurations::kDead) return Error{std::string(kTooAmbiguous)};
    id = best;
    left = configurations.shortest(id);
  }
  return text;
}

}  // namespace skvis
