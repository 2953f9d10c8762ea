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

double LengthHistogram::RemainingQuantile(int32_t produced, double q) const {
  if (samples_ < kMinSamples) return -1;
  // Lengths are taken to be spread evenly inside a bucket.
  static const std::array<double, kBuckets + 1> bounds = [] {
    std::array<double, kBuckets + 1> values = {};  // bucket b is above [b], up to [b + 1]
    for (int b = 0; b < kBuckets; ++b) values[b + 1] = std::exp2(b / 4.0);
    return values;
  }();
  const int first = BucketOf(produced + 1);
  const auto weight_of = [&](int bucket) {
    const double low = std::max<double>(bounds[bucket], produced);
    return weights_[bucket] * (bounds[bucket + 1] - low) / (bounds[bucket + 1] - bounds[bucket]);
  };
  double weight = 0;
  for (int bucket = first; bucket < kBuckets; ++bucket) weight += weight_of(bucket);
  if (weight < 1e-3 * total_) return -1;
  double left = q * weight;
  for (int bucket = first; bucket < kBuckets; ++bucket) {
    const double here = weight_of(bucket);
    if (here > 0 && left <= here) {
      const double low = std::max<double>(bounds[bucket], produced);
      return std::max(1.0, low + (bounds[bucket + 1] - low) * left / here - produced);
    }
    left -= here;
  }
  return -1;
}

void OutputLengths::Record(request::Priority priority, bool thinking, int32_t tokens) {
  Mode& mode = modes_[thinking];
  mode.classes[static_cast<size_t>(priority)].Record(tokens);
  mode.all_classes.Record(tokens);
  all_.Record(tokens);
}

const LengthHistogram& OutputLengths::For(request::Priority priority, bool thinking) const {
  const Mode& mode = modes_[thinking];
  const LengthHistogram& own = mode.classes[static_cast<size_t>(priority)];
  return own.known() ? own : mode.all_classes;
}

int32_t PredictOutputTokens(const LengthHistogram& histogram, double q, int32_t max_tokens) {
  const int32_t quantile = histogram.Quantile(q);
  if (quantile < 0) return std::min(max_tokens / 2 + max_tokens % 2, kColdStartTokens);
  return std::min(max_tokens, quantile);
}

}  // namespace hadal::admission
