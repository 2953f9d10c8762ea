// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "server/request/request.h"

namespace hadal::admission {

// Recent output lengths in log-spaced buckets (four per octave) whose weights decay with every record, so that a
// change in traffic shows after about a thousand answers. Not thread-safe.
class LengthHistogram {
 public:
  void Record(int32_t tokens);
  // Upper bound of the bucket that holds the q-quantile; -1 while fewer than kMinSamples were recorded.
  int32_t Quantile(double q) const;
  // Expected further tokens of an answer that already has `produced`; -1 when too few samples are that long.
  double MeanRemaining(int32_t produced) const;

  // The q-quantile of the further tokens of answers that already have `produced` tokens; -1 if too few samples are that
  // long.
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

// The output lengths of a model by class and mode (with or without reasoning). Not thread-safe.
class OutputLengths {
 public:
  void Record(request::Priority priority, bool thinking, int32_t tokens);
  // The histogram for such requests; that of all classes while the class has too few samples. Never that of the other
  // mode, whose answers are many times longer or shorter.
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

// Output tokens to reserve for one choice: min(max_tokens, q-quantile). Without enough samples, half of max_tokens
// (rounded up) but at most kColdStartTokens: a caller that omits max_tokens allows the whole context, and leases of
// that size would refuse nearly every request. An underestimate is corrected by preemption.
inline constexpr int32_t kColdStartTokens = 1024;
int32_t PredictOutputTokens(const LengthHistogram& histogram, double q, int32_t max_tokens);

}  // namespace hadal::admission
