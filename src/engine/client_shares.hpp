// SPDX-License-Identifier: Apache-2.0
// Who has been served how much, so that a client with a hundred requests does not keep one with a
// single request waiting. After the virtual token counter of "Fairness in Serving Large Language
// Models" (Sheng et al., 2024, section 4): tokens served are counted for each client, the one with
// fewest is served next, and one that comes back is lifted to the least of those that are here, so
// that nobody saves up a claim by being away.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace skvis {

class ClientShares {
 public:
  // Clients that are away are remembered up to so many.
  static constexpr size_t kMostAway = 1024;

  // A request of the client came, or ended.
  void arrive(const std::string& client);
  void leave(const std::string& client);
  // So much was done for a client that is here.
  void serve(const std::string& client, size_t prompt_tokens, size_t answer_tokens);
  double served(const std::string& client) const;
  size_t known() const { return shares_.size(); }

 private:
  struct Share {
    double served = 0;
    size_t requests = 0;
  };
  double least_here() const;
  void forget();

  std::map<std::string, Share> shares_;
  size_t away_ = 0;
  double last_least_ = 0;  // the least of those that were here, when the last one left
};

}  // namespace skvis
