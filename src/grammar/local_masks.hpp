// SPDX-License-Identifier: Apache-2.0
// The part of a mask that a state decides alone, whoever called its rule: tokens that stay inside
// the rule are allowed; tokens that run over its end are kept as the bytes behind the end, to be
// tried where the caller goes on. The division is XGrammar's (Dong et al., 2024); here parts are
// made when a state is first met. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar/configurations.hpp"
#include "grammar/token_mask.hpp"
#include "grammar/token_vocabulary.hpp"

namespace skvis {

struct LocalMask {
  // What a token adds behind the rule's end, and how many of these bytes the entry before shares.
  struct Overrun {
    uint32_t token;
    uint16_t offset;  // in the token's bytes
    uint16_t common;
  };
  TokenMask allowed;             // where many tokens are, else of size 0
  std::vector<uint32_t> few;     // where few are
  std::vector<Overrun> overrun;  // sorted by these bytes
  size_t bytes() const {
    return sizeof(*this) + allowed.words().size_bytes() + few.capacity() * sizeof(uint32_t) +
           overrun.capacity() * sizeof(Overrun);
  }
};

class LocalMasks {
 public:
  // Above this all masks are forgotten, and made again when they are needed.
  static constexpr size_t kMaxBytes = size_t{64} << 20;
  static constexpr size_t kMaxOverruns = size_t{1} << 20;

  // Both must outlive this object.
  LocalMasks(const Grammar& grammar, const TokenVocabulary& vocabulary)
      : grammar_(grammar), vocabulary_(vocabulary) {}

  // Sets the tokens that may follow in `id`, end tokens included. False where `configurations` was
  // exhausted or a rule has more than kMaxOverruns ways to end within a token.
  bool fill(Configurations& configurations, ConfigurationId id, TokenMask& mask);
  size_t bytes() const { return bytes_; }

 private:
  const LocalMask* find(Configurations& configurations, uint32_t state);
  bool make(Configurations& configurations, uint32_t state, LocalMask& made);
  bool takes_plain(Configurations& configurations, ConfigurationId id, uint32_t bytes) const;
  void sort(LocalMask& made) const;
  void try_overrun(Configurations& configurations, const LocalMask& local, ConfigurationId behind,
                   TokenMask& mask);

  const Grammar& grammar_;
  const TokenVocabulary& vocabulary_;
  std::unordered_map<uint32_t, std::unique_ptr<LocalMask>> masks_;  // by representative state
  size_t bytes_ = 0;
  std::vector<ConfigurationId> path_;  // scratch: by bytes read
};

}  // namespace skvis
