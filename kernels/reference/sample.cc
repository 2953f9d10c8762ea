// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/ops/philox.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {
namespace {

constexpr float kForbiddenLogit = -std::numeric_limits<float>::infinity();

// All ids, best value first, ties to the lower id.
std::vector<int32_t> SortedIds(const std::vector<float>& values) {
  std::vector<int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return ids;
}

bool GoodLogits(const std::vector<float>& logits) {
  bool any_finite = false;
  for (float value : logits) {
    if (std::isnan(value) || value == std::numeric_limits<float>::infinity()) return false;
    any_finite |= std::isfinite(value);
  }
  return any_finite;
}

std::vector<float> Adjusted(const SampleRowParams& row, std::vector<float> z) {
  for (const SamplePenalty& penalty : row.penalties) {
    float& value = z[penalty.token_id];
    if (penalty.in_prompt || penalty.output_count > 0) {
      value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
      value = std::min(value, std::numeric_limits<float>::max());
    }
    if (penalty.output_count > 0) {
      value -= row.frequency_penalty * static_cast<float>(penalty.output_count) + row.presence_penalty;
    }
  }
  for (const SampleBias& bias : row.biases) z[bias.token_id] += bias.bias;
  if (!row.allowed_mask.empty()) {
    for (size_t t = 0; t < z.size(); ++t) {
      if ((row.allowed_mask[t / 32] >> (t % 32) & 1u) == 0) z[t] = kForbiddenLogit;
    }
  }
  return z;
}

// Draws from the softmax of z / temperature, cut by top-k, top-p and min-p.
int32_t Draw(const SampleRowParams& row, const std::vector<float>& z) {
  std::vector<int32_t> ids = SortedIds(z);
  const float best = z[ids[0]];
  std::vector<double> weight(z.size());
  for (size_t t = 0; t < z.size(); ++t) weight[t] = std::exp((double{z[t]} - best) / row.temperature);
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(ids.size())) ids.resize(row.top_k);
  if (row.top_p < 1) {
    double total = 0, sum = 0;
    for (int32_t id : ids) total += weight[id];
    size_t kept = 0;
    while (kept < ids.size() && sum < row.top_p * total) sum += weight[ids[kept++]];
    ids.resize(std::max<size_t>(kept, 1));
  }
  std::erase_if(ids, [&](int32_t id) { return weight[id] < row.min_p || weight[id] == 0; });
  std::sort(ids.begin(), ids.end());
  double total = 0, sum = 0;
  for (int32_t id : ids) total += weight[id];
  const double target = SampleUniform(row.seed, row.random_counter) * total;
  for (int32_t id : ids) {
    sum += weight[id];
    if (sum > target) return id;
  }
  return ids.back();
}

int32_t Choose(const SampleRowParams& row, const std::vector<float>& logits, int32_t* status) {
  if (!GoodLogits(logits)) {
    *status = kSampleBadLogits;
    return -1;
  }
  if (row.target_token >= 0) return row.target_token;
  const std::vector<float> z = Adjusted(row, logits);
  const auto best = std::max_element(z.begin(), z.end());
  if (*best == kForbiddenLogit) {
    *status = kSampleNothingAllowed;
    return -1;
  }
  return row.temperature == 0 ? static_cast<int32_t>(best - z.begin()) : Draw(row, z);
}

double LogSumExp(const std::vector<float>& logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (float value : logits) total += std::exp(value - best);
  return best + std::log(total);
}

void SampleRow(const SampleParams& p, int64_t i) {
  const SampleRowParams& row = p.rows[i];
  const float* begin = p.logits.row<const float>(i);
  const std::vector<float> logits(begin, begin + p.logits.size(1));
  const int64_t columns = p.out_top_tokens.present() ? p.out_top_tokens.size(1) : 0;
  int32_t status = kSampleOk;
  const int32_t token = Choose(row, logits, &status);
  p.out_status.as<int32_t>()[i] = status;
  p.out_tokens.as<int32_t>()[i] = token;
  p.out_logprobs.as<float>()[i] = 0;
  for (int64_t j = 0; j < columns; ++j) {
    p.out_top_tokens.as<int32_t>()[i * columns + j] = -1;
    p.out_top_logprobs.as<float>()[i * columns + j] = 0;
  }
  if (status != kSampleOk || row.top_logprobs < 0) return;
  const double normaliser = LogSumExp(logits);
  p.out_logprobs.as<float>()[i] = static_cast<float>(logits[token] - normaliser);
  const std::vector<int32_t> order = SortedIds(logits);
  for (int64_t j = 0; j < std::min<int64_t>(row.top_logprobs, order.size()); ++j) {
    p.out_top_tokens.as<int32_t>()[i * columns + j] = order[j];
    p.out_top_logprobs.as<float>()[i * columns + j] = static_cast<float>(logits[order[j]] - normaliser);
  }
}

}  // namespace

void Sample(const SampleParams& p) {
  for (int64_t i = 0; i < p.logits.size(0); ++i) SampleRow(p, i);
}

}  // namespace hadal::kernels::reference
