// SPDX-License-Identifier: Apache-2.0
#include "eval/head_scores.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "budgets/head_groups.hpp"
#include "model/rope.hpp"

namespace skvis {
namespace {

constexpr uint32_t kRowsAtOnce = 256;
// Rows that stray less from their mean, relative to their length, stray by rounding.
constexpr double kLeastStray = 1e-7;
constexpr double kRidge = 1e-10;  // the published program's, added to every direction

// Sets aside one sample's queries, [layers][rows, query_heads, head_dim].
Result<std::vector<std::vector<float>>> all_queries(QueryReader& reader,
                                                    std::span<const uint32_t> sample) {
  std::vector<std::vector<float>> queries(reader.shape().layers);
  SKVIS_CHECK(reader.read(sample, [&](uint32_t layer, const LayerRecord& record) {
    queries[layer].insert(queries[layer].end(), record.q_before_rope.begin(),
                          record.q_before_rope.end());
  }));
  return queries;
}

// sums [width] += the rows of `values`.
void add_rows(std::span<const float> values, std::span<double> sums) {
  for (size_t i = 0; i < values.size(); ++i) sums[i % sums.size()] += values[i];
}

}  // namespace

Result<std::unique_ptr<QueryReader>> QueryReader::open(const std::string& model,
                                                       const LoadOptions& options, size_t threads) {
  auto pool = std::make_unique<ThreadPool>(threads > 0 ? threads : available_threads());
  SKVIS_TRY(LoadedModel loaded, load_model(model, options, *pool));
  std::unique_ptr<QueryReader> reader(new QueryReader(std::move(loaded), std::move(pool)));
  SKVIS_TRY(const Plan plan, resolve_plan("full", reader->model_.model.cache_shape(),
                                          {.precise = options.mode == DenseMode::precise,
                                           .model_identity = {},
                                           .plan_folder = {}}));
  SKVIS_TRY(Pool pages, Pool::create(available_memory() / 4));
  reader->pool_ = std::make_unique<Pool>(std::move(pages));
  SKVIS_TRY(CacheLayout layout, CacheLayout::create(plan, *reader->pool_));
  reader->layout_ = std::make_unique<CacheLayout>(std::move(layout));
  return reader;
}

Result<void> QueryReader::read(std::span<const uint32_t> sample, const Visit& visit) {
  const auto tokens = static_cast<uint32_t>(sample.size());
  if (tokens > model_.config().context_length) {
    return fail("samples of {} tokens are longer than the model's context of {}", tokens,
                model_.config().context_length);
  }
  SequenceCache sequence(*layout_, *pool_, kUnreserved);
  // The full plan keeps every row exact, so grid points have nothing to do.
  for (uint32_t done = 0; done < tokens;) {
    const uint32_t count = std::min(kRowsAtOnce, tokens - done);
    std::vector<StepRow> rows;
    for (uint32_t i = 0; i < count; ++i) {
      rows.push_back({.token = static_cast<int32_t>(sample[done + i])});
    }
    const SequenceSlice slice{.sequence = &sequence, .rows = count};
    SKVIS_TRY(const auto step,
              AttentionStep::begin({&slice, 1}, *threads_, {.queries_and_keys = true}));
    SKVIS_CHECK(model_.model.forward(rows, *step, {}, *threads_));
    for (uint32_t layer = 0; layer < shape().layers; ++layer) visit(layer, step->records(0)[layer]);
    step->commit_all();
    done += count;
  }
  return {};
}

double attention_area(std::span<const double> query, std::span<const double> key,
                      const RotaryTable& rotary, double scale, uint32_t positions) {
  const size_t half = rotary.inverse_frequency.size();
  const auto turned = [&](std::span<const double> row, uint32_t position) {
    std::vector<float> angles(2 * half), out(2 * half);
    const std::vector<float> in(row.begin(), row.end());
    rotary_angles(rotary, position, angles.data());
    rotate_row(in.data(), angles.data(), half, out.data());
    return out;
  };
  const std::vector<float> last = turned(query, positions - 1);
  std::vector<double> weights;
  for (uint32_t j = 0; j < positions; ++j) {
    const std::vector<float> row = turned(key, j);
    weights.push_back(scale * std::inner_product(row.begin(), row.end(), last.begin(), 0.0));
  }
  const double highest = *std::max_element(weights.begin(), weights.end());
  double sum = 0, area = 0;
  for (const double logit : weights) {
    sum += std::exp(logit - highest);
    area += sum;
  }
  return area / sum / positions;
}

std::vector<double> MeanRows::areas(const CacheShape& shape, const RotaryTable& rotary) const {
  const size_t dim = shape.head_dim;
  const uint32_t group = shape.group_size();
  std::vector<double> areas(shape.heads(), 0.0);
  for (uint32_t head = 0; head < shape.heads(); ++head) {
    for (uint32_t i = 0; i < group; ++i) {
      areas[head] +=
          attention_area(std::span(q).subspan((head * group + i) * dim, dim),
                         std::span(k).subspan(head * dim, dim), rotary, shape.attention_scale) /
          group;
    }
  }
  return areas;
}

Result<MeanRows> mean_rows(QueryReader& reader, std::span<const uint32_t> sample) {
  const CacheShape& shape = reader.shape();
  const size_t q_width = size_t{shape.query_heads} * shape.head_dim;
  const size_t k_width = size_t{shape.kv_heads} * shape.head_dim;
  MeanRows mean{.q = std::vector<double>(shape.layers * q_width),
                .k = std::vector<double>(shape.layers * k_width)};
  SKVIS_CHECK(reader.read(sample, [&](uint32_t layer, const LayerRecord& record) {
    add_rows(record.q_before_rope, std::span(mean.q).subspan(layer * q_width, q_width));
    add_rows(record.k_before_rope, std::span(mean.k).subspan(layer * k_width, k_width));
  }));
  for (double& sum : mean.q) sum /= static_cast<double>(sample.size());
  for (double& sum : mean.k) sum /= static_cast<double>(sample.size());
  return mean;
}

Result<AreaProfile> measure_areas(QueryReader& reader,
                                  std::span<const std::vector<uint32_t>> samples,
                                  const std::function<void(size_t, size_t)>& progress) {
  const RotaryTable rotary = make_rotary_table(reader.model().config());
  const auto count = static_cast<double>(samples.size());
  AreaProfile profile;
  MeanRows all;
  for (const std::vector<uint32_t>& sample : samples) {
    SKVIS_TRY(const MeanRows mean, mean_rows(reader, sample));
    all.q.resize(mean.q.size());
    all.k.resize(mean.k.size());
    for (size_t i = 0; i < mean.q.size(); ++i) all.q[i] += mean.q[i] / count;
    for (size_t i = 0; i < mean.k.size(); ++i) all.k[i] += mean.k[i] / count;
    profile.by_sample.push_back(mean.areas(reader.shape(), rotary));
    if (progress) progress(profile.by_sample.size(), samples.size());
  }
  profile.areas = all.areas(reader.shape(), rotary);
  return profile;
}

double truncated_entropy(const RowsView& rows, uint32_t largest) {
  const auto dim = static_cast<Eigen::Index>(rows.head_dim);
  Eigen::VectorXd mean = Eigen::VectorXd::Zero(dim);
  const auto row_of = [&](size_t i) {
    return Eigen::Map<const Eigen::VectorXf>(rows.row(i), dim).cast<double>();
  };
  for (size_t i = 0; i < rows.rows; ++i) mean += row_of(i);
  mean /= static_cast<double>(rows.rows);
  Eigen::MatrixXd unit = Eigen::MatrixXd::Zero(dim, static_cast<Eigen::Index>(rows.rows));
  for (size_t i = 0; i < rows.rows; ++i) {
    const Eigen::VectorXd stray = row_of(i) - mean;
    const double length = stray.norm();
    if (length <= kLeastStray * row_of(i).norm()) continue;
    unit.col(static_cast<Eigen::Index>(i)) = stray / length;
  }
  Eigen::MatrixXd covariance = Eigen::MatrixXd::Zero(dim, dim);
  covariance.selfadjointView<Eigen::Lower>().rankUpdate(unit);
  const double trace = covariance.trace();
  if (trace == 0) return 0;
  covariance /= trace;
  covariance.diagonal().array() += kRidge;
  // Ascending; a positive semi-definite matrix's eigenvalues are its singular values.
  const Eigen::VectorXd values =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(covariance, Eigen::EigenvaluesOnly)
          .eigenvalues();
  double sum = 0;
  for (Eigen::Index i = dim; i-- > std::max<Eigen::Index>(0, dim - largest);) {
    if (values[i] > 0) sum -= values[i] * std::log(values[i]);
  }
  return std::clamp(sum / std::log(static_cast<double>(dim)), 0.0, 1.0);
}

Result<HeadShares> measure_entropies(QueryReader& reader,
                                     std::span<const std::vector<uint32_t>> samples,
                                     const std::function<void(size_t, size_t)>& progress) {
  const CacheShape& shape = reader.shape();
  const size_t width = size_t{shape.query_heads} * shape.head_dim;
  HeadShares entropies;
  for (const std::vector<uint32_t>& sample : samples) {
    SKVIS_TRY(const auto queries, all_queries(reader, sample));
    std::vector<double> by_query_head(size_t{shape.layers} * shape.query_heads);
    reader.threads().run(by_query_head.size(), [&](size_t i, size_t) {
      const float* first =
          queries[i / shape.query_heads].data() + i % shape.query_heads * shape.head_dim;
      by_query_head[i] = truncated_entropy({first, sample.size(), shape.head_dim, width});
    });
    std::vector<double> mean(shape.heads(), 0.0);
    for (size_t i = 0; i < by_query_head.size(); ++i) {
      mean[i / shape.group_size()] += by_query_head[i] / shape.group_size();
    }
    entropies.push_back(std::move(mean));
    if (progress) progress(entropies.size(), samples.size());
  }
  return entropies;
}

std::vector<double> group_votes(const HeadShares& scores, const CacheShape& shape,
                                uint32_t groups) {
  std::vector<double> votes(shape.heads(), 0.0);
  for (const std::vector<double>& sample : scores) {
    for (uint32_t layer = 0; layer < shape.layers; ++layer) {
      std::vector<uint32_t> heads(shape.kv_heads);
      std::iota(heads.begin(), heads.end(), shape.index({layer, 0}));
      std::stable_sort(heads.begin(), heads.end(),
                       [&](uint32_t a, uint32_t b) { return sample[a] > sample[b]; });
      for (uint32_t rank = 0; rank < heads.size(); ++rank) {
        votes[heads[rank]] += (1 + group_level(rank, shape.kv_heads, groups)) / 2;
      }
    }
  }
  for (double& vote : votes) vote /= static_cast<double>(scores.size());
  return votes;
}

Json scored_plan(const Plan& base, std::string_view budget, std::span<const double> scores,
                 const Json& parameters) {
  Json keep = plan_to_json(base)["keep"];
  for (const Parameter& parameter : base.keep.budget->parameters) {
    keep.erase(std::string(parameter.name));
  }
  if (!find_budget(budget)->takes_amount) {
    for (const char* amount : {"ratio", "tokens", "bytes"}) keep.erase(amount);
  }
  keep["budget"] = budget;
  keep.update(parameters);
  keep["table"] = Json::array();
  for (uint32_t layer = 0; layer < base.shape.layers; ++layer) {
    Json row = Json::array();
    for (uint32_t head = 0; head < base.shape.kv_heads; ++head) {
      row.push_back(std::round(scores[base.shape.index({layer, head})] * 1e4) / 1e4);
    }
    keep["table"].push_back(std::move(row));
  }
  return {{"sinks", base.sinks},
          {"recent", base.recent},
          {"settle", SettleRule{}.step},
          {"keep", std::move(keep)}};
}

}  // namespace skvis
