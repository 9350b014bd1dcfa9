// SPDX-License-Identifier: Apache-2.0
#include "grammar/local_masks.hpp"

#include <algorithm>

namespace skvis {

bool LocalMasks::fill(Configurations& configurations, ConfigurationId id, TokenMask& mask) {
  mask.clear();
  if (bytes_ > kMaxBytes) {
    masks_.clear();
    bytes_ = 0;
  }
  if (configurations.ends(id)) {
    for (const uint32_t token : vocabulary_.end_tokens()) mask.allow(token);
  }
  const std::vector<Configurations::Item> items(configurations.items(id).begin(),
                                                configurations.items(id).end());
  for (const Configurations::Item& item : items) {
    const LocalMask* local = find(configurations, item.state);
    if (local == nullptr) return false;
    for (const uint32_t token : local->few) mask.allow(token);
    const auto from = local->allowed.words();
    const auto to = mask.words();
    for (size_t i = 0; i < from.size(); ++i) to[i] |= from[i];
    if (local->overrun.empty()) continue;
    const ConfigurationId behind = configurations.behind(item.node);
    try_overrun(configurations, *local, behind, mask);
    if (configurations.exhausted()) return false;
  }
  return true;
}

const LocalMask* LocalMasks::find(Configurations& configurations, uint32_t state) {
  state = grammar_.representative(state, vocabulary_.longest());
  const auto known = masks_.find(state);
  if (known != masks_.end()) return known->second.get();
  auto made = std::make_unique<LocalMask>();
  if (!make(configurations, state, *made)) return nullptr;
  bytes_ += made->bytes();
  return (masks_[state] = std::move(made)).get();
}

// One walk over all tokens, from `state` with its caller unknown.
bool LocalMasks::make(Configurations& configurations, uint32_t state, LocalMask& made) {
  const auto nodes = vocabulary_.nodes();
  const ByteSet& follow = grammar_.rules()[grammar_.rule_of(state)].follow;
  path_.assign(vocabulary_.longest() + 1, Configurations::kDead);
  path_[0] = configurations.local(state);
  std::vector<uint8_t> text(vocabulary_.longest() + 1);
  std::vector<uint16_t> returns;  // numbers of bytes after which the rule may end
  std::vector<uint32_t> allowed;
  for (size_t i = 0; i < nodes.size();) {
    const TokenVocabulary::Node& node = nodes[i];
    text[node.depth - 1] = node.byte;
    while (!returns.empty() && returns.back() >= node.depth) returns.pop_back();
    const ConfigurationId id = configurations.next(path_[node.depth - 1], node.byte);
    if (id != Configurations::kDead) {
      if (node.plain_below != TokenVocabulary::kNotPlain &&
          takes_plain(configurations, id, node.plain_below)) {
        const auto tokens = vocabulary_.tokens_below(i);
        allowed.insert(allowed.end(), tokens.begin(), tokens.end());
        i = node.skip;
        continue;
      }
      path_[node.depth] = id;
      if (configurations.returns(id)) returns.push_back(node.depth);
      const auto tokens = vocabulary_.tokens_at(i);
      allowed.insert(allowed.end(), tokens.begin(), tokens.end());
      ++i;
      continue;
    }
    if (configurations.exhausted()) return false;
    for (const uint16_t end : returns) {
      if (!follow[text[end]]) continue;
      for (const uint32_t token : vocabulary_.tokens_below(i)) {
        made.overrun.push_back({token, end, 0});
      }
    }
    if (made.overrun.size() > kMaxOverruns) return false;
    i = node.skip;
  }
  if (allowed.size() * 32 < vocabulary_.size()) {
    made.few = std::move(allowed);
  } else {
    made.allowed = TokenMask(vocabulary_.size());
    for (const uint32_t token : allowed) made.allowed.allow(token);
  }
  sort(made);
  return true;
}

// Any text of so many plain bytes goes on from here: whole subtrees need no walk, as inside
// strings.
bool LocalMasks::takes_plain(Configurations& configurations, ConfigurationId id,
                             uint32_t bytes) const {
  for (; bytes > 0; --bytes) {
    const ConfigurationId next = configurations.next_plain(id);
    if (next == id) return true;
    if (next == Configurations::kDead) return false;
    id = next;
  }
  return true;
}

void LocalMasks::sort(LocalMask& made) const {
  const auto rest = [&](const LocalMask::Overrun& each) {
    return vocabulary_.bytes(each.token).substr(each.offset);
  };
  std::sort(made.overrun.begin(), made.overrun.end(),
            [&](const auto& a, const auto& b) { return rest(a) < rest(b); });
  std::string_view last;
  for (LocalMask::Overrun& each : made.overrun) {
    const std::string_view bytes = rest(each);
    each.common = static_cast<uint16_t>(
        std::mismatch(last.begin(), last.end(), bytes.begin(), bytes.end()).first - last.begin());
    last = bytes;
  }
}

void LocalMasks::try_overrun(Configurations& configurations, const LocalMask& local,
                             ConfigurationId behind, TokenMask& mask) {
  path_.assign(vocabulary_.longest() + 1, Configurations::kDead);
  path_[0] = behind;
  size_t dead = SIZE_MAX;  // so many bytes of the entry before lead nowhere
  for (const LocalMask::Overrun& each : local.overrun) {
    if (each.common >= dead) continue;
    dead = SIZE_MAX;
    const std::string_view bytes = vocabulary_.bytes(each.token).substr(each.offset);
    for (size_t at = each.common; at < bytes.size(); ++at) {
      path_[at + 1] = configurations.next(path_[at], static_cast<uint8_t>(bytes[at]));
      if (path_[at + 1] == Configurations::kDead) {
        dead = at + 1;
        break;
      }
    }
    if (dead == SIZE_MAX) mask.allow(each.token);
  }
}

}  // namespace skvis
