// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_histogram.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

constexpr auto kUnordered = std::memory_order_relaxed;

// A bucket is taken to be like the one before it, as if so many answers had shown that.
constexpr double kAssumed = 2;
// Unless too few answers have been in that one, too, less than about so many.
constexpr double kFew = 8;
// Share of the answers in a bucket that end in it, if half of those that reach any length end before twice that.
const double kScaleFree = 1 - std::exp2(-0.25);

// Bucket b holds what is above [b], up to [b + 1]. Lengths are taken to be spread evenly in it.
const std::array<double, LengthCurve::kBuckets + 1>& Bounds() {
  static const auto bounds = [] {
    std::array<double, LengthCurve::kBuckets + 1> values = {};
    for (int b = 0; b < LengthCurve::kBuckets; ++b) values[b + 1] = std::exp2(b / 4.0);
    return values;
  }();
  return bounds;
}

// No whole number of tokens falls into some of the first buckets.
bool HasLengths(int bucket) {
  return bucket == 0 || LengthCurve::UpperBound(bucket) > LengthCurve::UpperBound(bucket - 1);
}

}  // namespace

LengthCurve::LengthCurve(const std::array<double, kBuckets>& ends) : known_(true), ends_(ends) {
  longer_[0] = 1;
  for (int bucket = 0; bucket < kBuckets; ++bucket) longer_[bucket + 1] = longer_[bucket] * (1 - ends_[bucket]);
}

int LengthCurve::BucketOf(int32_t tokens) {
  if (tokens <= 1) return 0;
  return std::min(static_cast<int>(std::ceil(std::log2(static_cast<double>(tokens)) * 4)), kBuckets - 1);
}

int32_t LengthCurve::UpperBound(int bucket) { return static_cast<int32_t>(std::exp2(bucket / 4.0)); }

int32_t LengthCurve::Quantile(double q) const {
  if (!known_) return -1;
  double longer = 1;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    longer *= 1 - ends_[bucket];
    if (longer <= 1 - q) return UpperBound(bucket);
  }
  return UpperBound(kBuckets - 1);
}

double LengthCurve::RemainingQuantile(int32_t produced, double q) const {
  if (!known_) return -1;
  const auto& bounds = Bounds();
  double longer = 1;  // share of those that have `produced`
  for (int bucket = BucketOf(produced + 1); bucket < kBuckets; ++bucket) {
    const double low = std::max<double>(bounds[bucket], produced);
    const double left = (bounds[bucket + 1] - low) / (bounds[bucket + 1] - bounds[bucket]);
    // Who is in the middle of the bucket has survived a part of it.
    const double end = longer * ends_[bucket] * left / (1 - ends_[bucket] * (1 - left));
    if (end > 0 && longer - end <= 1 - q) {
      const double part = (longer - (1 - q)) / end;
      return std::max(1.0, low + (bounds[bucket + 1] - low) * part - produced);
    }
    longer -= end;
  }
  return std::max(1.0, bounds[kBuckets] - produced);
}

double LengthCurve::Longer(int32_t tokens) const {
  const auto& bounds = Bounds();
  const int bucket = BucketOf(tokens);
  const double part = (tokens - bounds[bucket]) / (bounds[bucket + 1] - bounds[bucket]);
  return longer_[bucket] * (1 - ends_[bucket] * std::clamp(part, 0.0, 1.0));
}

double LengthCurve::Survival(int32_t produced, int32_t more) const {
  if (!known_) return 1;
  const double now = Longer(produced);
  return now > 0 ? std::min(1.0, Longer(produced + more) / now) : 0;
}

void LengthHistogram::Enter(int bucket) { entered_[bucket].store(entered_[bucket].load(kUnordered) + 0.5, kUnordered); }

void LengthHistogram::Leave(int bucket, double ended) {
  entered_[bucket].store(entered_[bucket].load(kUnordered) * kDecay + 0.5, kUnordered);
  ended_[bucket].store(ended_[bucket].load(kUnordered) * kDecay + ended, kUnordered);
}

void LengthHistogram::RecordProgress(int32_t from, int32_t to) {
  if (from == 0) Enter(0);
  const int last = LengthCurve::BucketOf(to);
  for (int bucket = LengthCurve::BucketOf(from); bucket < last;) {
    Leave(bucket, 0);
    do ++bucket;
    while (!HasLengths(bucket));
    Enter(bucket);
  }
}

void LengthHistogram::RecordEnd(int32_t tokens, int32_t recorded) {
  RecordProgress(recorded, tokens);
  Leave(LengthCurve::BucketOf(tokens), 1);
  samples_.store(samples_.load(kUnordered) + 1, kUnordered);
}

LengthCurve LengthHistogram::Curve() const {
  if (!known()) return LengthCurve();
  std::array<double, kBuckets> ends = {};
  double like_before = kScaleFree;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    if (!HasLengths(bucket)) continue;
    const double assumed = kAssumed * std::min(like_before, kScaleFree);
    // Read one after the other while they may change.
    const double ended = ended_[bucket].load(kUnordered);
    const double entered = std::max(ended, entered_[bucket].load(kUnordered));
    ends[bucket] = (ended + assumed) / (entered + kAssumed);
    like_before = (ends[bucket] * entered + kScaleFree * kFew) / (entered + kFew);
  }
  return LengthCurve(ends);
}

template <typename Record>
void OutputLengths::ForEach(const request::Request& request, const Record& record) {
  record(all_);
  if (request.fixed_length()) return;
  Mode& mode = modes_[request.thinking];
  record(mode.all_classes);
  record(mode.classes[static_cast<size_t>(request.priority)]);
}

void OutputLengths::RecordProgress(const request::Request& request, int32_t from, int32_t to) {
  ForEach(request, [&](LengthHistogram& lengths) { lengths.RecordProgress(from, to); });
}

void OutputLengths::RecordEnd(const request::Request& request, int32_t tokens, int32_t recorded) {
  ForEach(request, [&](LengthHistogram& lengths) { lengths.RecordEnd(tokens, recorded); });
}

const LengthHistogram& OutputLengths::For(request::Priority priority, bool thinking) const {
  const Mode& mode = modes_[thinking];
  const LengthHistogram& own = mode.classes[static_cast<size_t>(priority)];
  return own.known() ? own : mode.all_classes;
}

int32_t PredictOutputTokens(const LengthCurve& curve, double q, int32_t max_tokens) {
  const int32_t quantile = curve.Quantile(q);
  if (quantile < 0) return std::min(max_tokens / 2 + max_tokens % 2, kColdStartTokens);
  return std::min(max_tokens, quantile);
}

}  // namespace hadal::admission
