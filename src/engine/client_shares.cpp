// SPDX-License-Identifier: Apache-2.0
#include "engine/client_shares.hpp"

#include <algorithm>
#include <limits>

namespace skvis {
namespace {

// A token of an answer takes a step of its own, one of a prompt shares it with hundreds (the
// paper's weights).
constexpr double kPromptToken = 1;
constexpr double kAnswerToken = 2;

}  // namespace

double ClientShares::least_here() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [client, share] : shares_) {
    if (share.requests > 0) least = std::min(least, share.served);
  }
  return least == std::numeric_limits<double>::infinity() ? last_least_ : least;
}

void ClientShares::arrive(const std::string& client) {
  const double least = least_here();
  const auto [share, is_new] = shares_.emplace(client, Share{.served = least});
  if (share->second.requests++ > 0) return;
  share->second.served = std::max(share->second.served, least);
  if (!is_new) --away_;
}

void ClientShares::leave(const std::string& client) {
  const auto share = shares_.find(client);
  if (share == shares_.end() || share->second.requests == 0) return;
  last_least_ = least_here();
  if (--share->second.requests == 0 && ++away_ > kMostAway) forget();
}

// Those that are away and have no more than they would be lifted to are as good as unknown; then
// those with least, who lose least by it.
void ClientShares::forget() {
  const double least = least_here();
  const auto away = [](const auto& entry) { return entry.second.requests == 0; };
  away_ -= std::erase_if(
      shares_, [&](const auto& entry) { return away(entry) && entry.second.served <= least; });
  while (away_ > kMostAway) {
    auto lowest = shares_.end();
    for (auto share = shares_.begin(); share != shares_.end(); ++share) {
      if (!away(*share)) continue;
      if (lowest == shares_.end() || share->second.served < lowest->second.served) lowest = share;
    }
    shares_.erase(lowest);
    --away_;
  }
}

void ClientShares::serve(const std::string& client, size_t prompt_tokens, size_t answer_tokens) {
  const auto share = shares_.find(client);
  if (share == shares_.end()) return;
  share->second.served += kPromptToken * static_cast<double>(prompt_tokens) +
                          kAnswerToken * static_cast<double>(answer_tokens);
}

double ClientShares::served(const std::string& client) const {
  const auto share = shares_.find(client);
  return share == shares_.end() ? least_here() : share->second.served;
}

}  // namespace skvis
