// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_histogram.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {

int LengthHistogram::BucketOf(int32_t tokens) {
  if (tokens <= 1) return 0;
  return std::min(static_cast<int>(std::ceil(std::log2(static_cast<double>(tokens)) * 4)), kBuckets - 1);
}

int32_t LengthHistogram::UpperBound(int bucket) { return static_cast<int32_t>(std::exp2(bucket / 4.0)); }

void LengthHistogram::Record(int32_t tokens) {
  for (double& weight : weights_) weight *= kDecay;
  total_ = total_ * kDecay + 1;
  weights_[BucketOf(tokens)] += 1;
  ++samples_;
}

int32_t LengthHistogram::Quantile(double q) const {
  if (samples_ < kMinSamples) return -1;
  double below = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    below += weights_[bucket];
    if (below >= q * total_) return UpperBound(bucket);
  }
  return UpperBound(kBuckets - 1);
}

double LengthHistogram::MeanRemaining(int32_t produced) const {
  if (samples_ < kMinSamples) return -1;
  double weight = 0;
  double tokens = 0;
  for (int bucket = BucketOf(produced + 1); bucket < kBuckets; ++bucket) {
    weight += weights_[bucket];
    tokens += weights_[bucket] * std::max(1, UpperBound(bucket) - produced);
  }
  return weight < 1e-3 * total_ ? -1 : tokens / weight;
}

int32_t PredictOutputTokens(const LengthHistogram& histogram, double q, int32_t max_tokens) {
  const int32_t quantile = histogram.Quantile(q);
  if (quantile < 0) return std::min(max_tokens / 2 + max_tokens % 2, kColdStartTokens);
  return std::min(max_tokens, quantile);
}

}  // namespace hadal::admission
