// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "server/admission/length_histogram.h"

namespace hadal::admission {

// An answer that holds memory, or asks for it.
struct GrowingAnswer {
  double blocks = 0;                     // KV blocks of its own, now
  int32_t produced = 0;                  // tokens so far
  int32_t most_left = 1;                 // further tokens at most
  int32_t least_left = 0;                // further tokens that it will have in any case
  const LengthCurve* lengths = nullptr;  // known, of answers like it
};

// What many growing answers need of one pool together. Each may become long, but hardly all of them, and not at the
// same time: so much later, an answer either has ended and needs nothing, or has grown by as much. The need at one time
// ahead is the sum of what each is expected to hold then, plus `deviations` standard deviations of that sum; the need
// of all is the highest at any time. A few long answers thus reserve nearly all that they may become, many hardly more
// than they are expected to. The shares of its answers add up to the need. Not thread-safe.
class MemoryPortfolio {
 public:
  static constexpr int kHorizons = 80;

  // An empty one. `block_tokens`: tokens of a KV block.
  MemoryPortfolio(int32_t block_tokens, double deviations);

  void Add(const GrowingAnswer& answer);
  // After the last Add, before the following.
  void Finish();
  // The blocks that all need.
  double Need() const { return NeedAt(sums_[peak_]); }
  // By how much that would grow if such an answer came.
  double Increase(const GrowingAnswer& answer) const;
  // The part of the need that such an answer, one of them, causes.
  double Share(const GrowingAnswer& answer) const;

 private:
  struct Moments {
    double mean = 0, variance = 0;
  };

  Moments At(int horizon, const GrowingAnswer& answer) const;
  double NeedAt(const Moments& moments) const;
  int32_t block_tokens_;
  double deviations_;
  std::array<Moments, kHorizons> sums_ = {};
  int peak_ = 0;  // when the need is highest
};

}  // namespace hadal::admission
