// SPDX-License-Identifier: Apache-2.0
// GET /metrics: what happens here, in Prometheus' text format. Names and bucket edges are those
// that dashboards of other engines know, with our prefix.
#pragma once

#include <memory>
#include <string>

#include "engine/service.hpp"
#include "server/http_message.hpp"

namespace skvis {

// Times of one request that was answered, in seconds.
struct RequestTimes {
  double queue = 0;
  double first_token = 0;  // from the request's arrival
  double prefill = 0;
  double decode = 0;
  double whole = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
};

// Any thread may use it.
class Metrics {
 public:
  explicit Metrics(const std::string& model_id);
  ~Metrics();

  void record(const RequestTimes& times);
  HttpResponse response(const ServiceFigures& figures) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skvis
