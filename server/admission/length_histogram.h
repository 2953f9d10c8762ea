// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "server/request/request.h"

namespace hadal::admission {

// How long answers become: a value, made by LengthHistogram. Beyond what was seen, half of the answers that reach a
// length are taken to end before they are twice as long.
class LengthCurve {
 public:
  static constexpr int kBuckets = 96;  // four per octave, up to 2^24 tokens

  // The bucket of an answer of that length, and the longest in a bucket.
  static int BucketOf(int32_t tokens);
  static int32_t UpperBound(int bucket);

  LengthCurve() = default;  // of which nothing is known
  // `ends`: of the answers that enter a bucket, the share that ends in it.
  explicit LengthCurve(const std::array<double, kBuckets>& ends);

  bool known() const { return known_; }
  // Upper bound of the bucket that holds the q-quantile; -1 if unknown.
  int32_t Quantile(double q) const;
  // The q-quantile of the further tokens of answers that already have `produced` tokens, at least 1; -1 if unknown.
  double RemainingQuantile(int32_t produced, double q) const;
  // The share of the answers with `produced` tokens, or one more, that go on for at least `more` tokens; 1 if unknown.
  double Survival(int32_t produced, int32_t more) const;

 private:
  // The share of all answers that are longer than that.
  double Longer(int32_t tokens) const;

  bool known_ = false;
  std::array<double, kBuckets> ends_ = {};
  std::array<double, kBuckets + 1> longer_ = {};  // the share that enters each bucket
};

// Learns the lengths of answers from all that run, not only from those that have ended: under load the short ones end
// first, and who looks at ended ones alone finds them too short for as long as the longest take. For each bucket of
// lengths it counts how many answers entered it and how many of them ended in it (the product-limit estimate of Kaplan
// and Meier, 1958, JASA 53(282), in intervals). Cancelled answers, and those still running, so count as far as they
// came, and by half in the bucket in which they are. The counts of a bucket decay with every answer that leaves it, so
// a change in traffic shows after about a thousand answers. One thread records, any thread reads, without locks.
class LengthHistogram {
 public:
  static constexpr int32_t kMinSamples = 16;  // ended answers, before which nothing is known

  // An answer that had `from` tokens has `to` now, and goes on; 0 when it begins. Constant time per bucket in between.
  void RecordProgress(int32_t from, int32_t to);
  // An answer has ended with so many tokens. Its progress has been recorded up to `recorded`.
  void RecordEnd(int32_t tokens, int32_t recorded);
  // Both, of a whole answer.
  void Record(int32_t tokens) { RecordEnd(tokens, 0); }

  bool known() const { return samples_.load(std::memory_order_relaxed) >= kMinSamples; }
  LengthCurve Curve() const;

 private:
  static constexpr int kBuckets = LengthCurve::kBuckets;
  static constexpr double kDecay = 0.999;

  void Enter(int bucket);
  void Leave(int bucket, double ended);

  // By bucket: answers, half of each when it comes and half when it leaves, and those that ended there.
  std::array<std::atomic<double>, kBuckets> entered_ = {}, ended_ = {};
  std::atomic<int64_t> samples_{0};
};

// The output lengths of a model by class and mode (with or without reasoning). Those that callers have fixed say
// nothing about others and count in all() alone, which is what the server has to do. One thread records, any thread
// reads.
class OutputLengths {
 public:
  // As LengthHistogram has them.
  void RecordProgress(const request::Request& request, int32_t from, int32_t to);
  void RecordEnd(const request::Request& request, int32_t tokens, int32_t recorded);
  // The histogram for such requests; that of all classes while the class has too few samples. Never that of the other
  // mode, whose answers are many times longer or shorter.
  const LengthHistogram& For(request::Priority priority, bool thinking) const;
  const LengthHistogram& OfMode(bool thinking) const { return modes_[thinking].all_classes; }
  const LengthHistogram& all() const { return all_; }

 private:
  // Calls `record` with each histogram that such a request counts in.
  template <typename Record>
  void ForEach(const request::Request& request, const Record& record);

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
int32_t PredictOutputTokens(const LengthCurve& curve, double q, int32_t max_tokens);

}  // namespace hadal::admission
