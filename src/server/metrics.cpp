// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.hpp"

#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <sstream>

namespace skvis {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Buckets = prometheus::Histogram::BucketBoundaries;

const Buckets kFirstTokenBuckets = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25, 0.5,
                                    0.75,  1.0,   2.5,  5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0};
const Buckets kPerTokenBuckets = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                                  0.4,  0.5,   0.75, 1.0,   2.5, 5.0,  7.5, 10.0};
const Buckets kRequestBuckets = {0.3,  0.5,  0.8,  1.0,  1.5,  2.0,   2.5,   5.0,   10.0,  15.0,
                                 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0};
const Buckets kTokenBuckets = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000};

ClientMetric gauge(double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  return metric;
}

ClientMetric counter(uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  return metric;
}

std::vector<MetricFamily> families(const ServiceFigures& figures) {
  const PoolFigures& kv = figures.kv;
  const auto bytes = [](size_t value, const char* state) {
    return gauge(static_cast<double>(value), {{"state", state}});
  };
  const auto outcome = [](uint64_t value, const char* name) {
    return counter(value, {{"outcome", name}});
  };
  const double budget = static_cast<double>(figures.kv_budget);
  const double taken = budget > 0 ? (budget - static_cast<double>(kv.free)) / budget : 0;
  return {
      {"skvis:num_requests_running",
       "Requests that are being answered",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.running))}},
      {"skvis:num_requests_waiting",
       "Requests in the queue",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.waiting))}},
      {"skvis:num_conversations_idle",
       "Conversations kept between turns, without a request; they leave when room is needed",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.idle))}},
      {"skvis:kv_idle_bytes",
       "KV memory of pages that kept conversations and published states hold; part of used and "
       "wasted",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.idle_bytes))}},
      {"skvis:num_prefix_states",
       "States at grid points that prompts may begin with",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.points))}},
      {"skvis:kv_bytes_shared",
       "What shared pages would take beyond what they do, had each holder its own",
       MetricType::Gauge,
       {gauge(static_cast<double>(figures.shared_bytes))}},
      {"skvis:prefix_cache_queries_total",
       "Tokens of prompts that were looked up",
       MetricType::Counter,
       {counter(figures.prefix_queries)}},
      {"skvis:prefix_cache_hits_total",
       "Tokens of prompts that had been read before",
       MetricType::Counter,
       {counter(figures.prefix_hits)}},
      {"skvis:prefix_bytes_saved_total",
       "What the full cache takes for the tokens that had been read before",
       MetricType::Counter,
       {counter(figures.prefix_bytes)}},
      {"skvis:num_preemptions_total",
       "Requests that were written out for more urgent ones",
       MetricType::Counter,
       {counter(figures.preempted)}},
      {"skvis:conversations_dropped_total",
       "Kept conversations that left because room was needed",
       MetricType::Counter,
       {counter(figures.dropped)}},
      {"skvis:kv_cache_usage_perc",
       "Share of the KV memory that is used, wasted or promised; 1 is all of it",
       MetricType::Gauge,
       {gauge(taken)}},
      {"skvis:kv_bytes",
       "KV memory by state; the states add up to the budget",
       MetricType::Gauge,
       {bytes(kv.used, "used"), bytes(kv.wasted, "wasted"), bytes(kv.reserved, "reserved"),
        bytes(kv.free, "free")}},
      {"skvis:kv_budget_bytes", "KV memory in all", MetricType::Gauge, {gauge(budget)}},
      {"skvis:requests_total",
       "Requests that ended, by outcome",
       MetricType::Counter,
       {outcome(figures.finished, "finished"), outcome(figures.cancelled, "cancelled"),
        outcome(figures.failed, "failed")}},
      {"skvis:prompt_tokens_total",
       "Prompt tokens that were read",
       MetricType::Counter,
       {counter(figures.prompt_tokens)}},
      {"skvis:generation_tokens_total",
       "Tokens that were generated",
       MetricType::Counter,
       {counter(figures.generated_tokens)}},
  };
}

}  // namespace

struct Metrics::State {
  prometheus::Registry registry;

  prometheus::Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }

  prometheus::Histogram& first_token =
      histogram("skvis:time_to_first_token_seconds",
                "From a request's arrival to the first piece of its answer", kFirstTokenBuckets);
  prometheus::Histogram& per_token =
      histogram("skvis:time_per_output_token_seconds",
                "Time of decoding divided by the tokens after the first", kPerTokenBuckets);
  prometheus::Histogram& whole =
      histogram("skvis:e2e_request_latency_seconds",
                "From a request's arrival to the end of its answer", kRequestBuckets);
  prometheus::Histogram& queue =
      histogram("skvis:request_queue_time_seconds", "Time in the queue", kRequestBuckets);
  prometheus::Histogram& prefill =
      histogram("skvis:request_prefill_time_seconds", "Time of reading prompts", kRequestBuckets);
  prometheus::Histogram& decode =
      histogram("skvis:request_decode_time_seconds", "Time of generating", kRequestBuckets);
  prometheus::Histogram& prompt =
      histogram("skvis:request_prompt_tokens", "Prompt tokens of a request", kTokenBuckets);
  prometheus::Histogram& generated =
      histogram("skvis:request_generation_tokens", "Generated tokens of a request", kTokenBuckets);
};

Metrics::Metrics(const std::string& model_id) : state_(std::make_unique<State>()) {
  prometheus::Family<prometheus::Gauge>& info = prometheus::BuildGauge()
                                                    .Name("skvis:model_info")
                                                    .Help("What is served; the value is always 1")
                                                    .Register(state_->registry);
  info.Add({{"model_name", model_id}, {"version", SKVIS_VERSION}}).Set(1);
}

Metrics::~Metrics() = default;

void Metrics::record(const RequestTimes& times) {
  if (times.first_token > 0) state_->first_token.Observe(times.first_token);
  if (times.generated_tokens > 1) {
    state_->per_token.Observe(times.decode / static_cast<double>(times.generated_tokens - 1));
  }
  state_->whole.Observe(times.whole);
  state_->queue.Observe(times.queue);
  state_->prefill.Observe(times.prefill);
  state_->decode.Observe(times.decode);
  state_->prompt.Observe(static_cast<double>(times.prompt_tokens));
  state_->generated.Observe(static_cast<double>(times.generated_tokens));
}

HttpResponse Metrics::response(const ServiceFigures& figures) const {
  std::vector<MetricFamily> all = families(figures);
  for (MetricFamily& family : state_->registry.Collect()) all.push_back(std::move(family));
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, all);
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = std::move(text).str()};
}

}  // namespace skvis
