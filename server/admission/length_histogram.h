// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "server/request/request.h"

namespace hadal::admission {

// Output lengths seen lately, in log-spaced buckets (four an octave) whose weights decay with every record, so that a
// change of traffic shows after about a thousand answers. Not thread-safe.
class LengthHistogram {
 public:
  void Record(int32_t tokens);
  // Upper bound of the bucket that holds the q-quantile; -1 while fewer than kMinSamples were recorded.
  int32_t Quantile(double q) const;
  // Expected further tokens of an answer that already has `produced`; -1 when too few samples are that long.
  double MeanRemaining(int32_t produced) const;

  // Further tokens by which the share `q` of the answers that have `produced` tokens ends; -1 when too few samples are
  // that long.
  double RemainingQuantile(int32_t produced, double q) const;

  static constexpr int32_t kMinSamples = 16;
  bool known() const { return samples_ >= kMinSamples; }

 private:
  static constexpr int kBuckets = 96;  // up to 2^24 tokens
  static constexpr double kDecay = 0.999;
  static int BucketOf(int32_t tokens);
  static int32_t UpperBound(int bucket);

  std::array<double, kBuckets> weights_ = {};
  double total_ = 0;
  int64_t samples_ = 0;
};

// The output lengths of a model, by what makes them differ: the class, and whether reasoning comes first. Not
// thread-safe.
class OutputLengths {
 public:
  void Record(request::Priority priority, bool thinking, int32_t tokens);
  // Of such requests; of all classes while there are too few of its own. Never of the other mode, whose answers are
  // many times longer or shorter.
  const LengthHistogram& For(request::Priority priority, bool thinking) const;
  const LengthHistogram& OfMode(bool thinking) const { return modes_[thinking].all_classes; }
  const LengthHistogram& all() const { return all_; }

 private:
  struct Mode {
    std::array<LengthHistogram, request::kNumPriorities> classes;
    LengthHistogram all_classes;
  };
  std::array<Mode, 2> modes_;  // [thinking]
  LengthHistogram all_;
};

// Output tokens to reserve for one choice: min(max_tokens, q-quantile). On a cold start half of max_tokens, rounded up,
// but no more than kColdStartTokens: callers that leave max_tokens out mean the whole context, and a lease of that size
// for each would refuse nearly everybody. Too short a guess is mended by preemption.
inline constexpr int32_t kColdStartTokens = 1024;
int32_t PredictOutputTokens(const LengthHistogram& histogram, double q, int32_t max_tokens);

}  // namespace hadal::admission
