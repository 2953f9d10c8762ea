// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_portfolio.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

// Times ahead in tokens: 0, then four per octave, and one after the last.
const std::array<int32_t, MemoryPortfolio::kHorizons + 1>& Horizons() {
  static const auto horizons = [] {
    std::array<int32_t, MemoryPortfolio::kHorizons + 1> values = {};
    for (size_t i = 1; i < values.size(); ++i) {
      values[i] = static_cast<int32_t>(std::ceil(std::exp2(static_cast<double>(i - 1) / 4)));
    }
    return values;
  }();
  return horizons;
}

}  // namespace

MemoryPortfolio::MemoryPortfolio(int32_t block_tokens, double deviations)
    : block_tokens_(block_tokens), deviations_(deviations) {}

MemoryPortfolio::Moments MemoryPortfolio::At(int horizon, const GrowingAnswer& answer) const {
  const int32_t ahead = Horizons()[horizon];
  if (ahead > 0 && ahead >= answer.most_left) return {};
  const double alive = ahead <= answer.least_left ? 1 : answer.lengths->Survival(answer.produced, ahead);
  // As large as it may become until the next one.
  const double more = std::min(answer.most_left, Horizons()[horizon + 1]);
  const double size = answer.blocks + more / block_tokens_;
  return {alive * size, alive * (1 - alive) * size * size};
}

double MemoryPortfolio::NeedAt(const Moments& moments) const {
  return moments.mean + deviations_ * std::sqrt(moments.variance);
}

void MemoryPortfolio::Add(const GrowingAnswer& answer) {
  for (int i = 0; i < kHorizons; ++i) {
    const Moments one = At(i, answer);
    if (one.mean <= 0) break;
    sums_[i].mean += one.mean;
    sums_[i].variance += one.variance;
  }
}

void MemoryPortfolio::Finish() {
  const auto less = [this](const Moments& a, const Moments& b) { return NeedAt(a) < NeedAt(b); };
  peak_ = static_cast<int>(std::max_element(sums_.begin(), sums_.end(), less) - sums_.begin());
}

double MemoryPortfolio::Increase(const GrowingAnswer& answer) const {
  double most = 0;
  for (int i = 0; i < kHorizons; ++i) {
    const Moments one = At(i, answer);
    if (one.mean <= 0) break;
    most = std::max(most, NeedAt({sums_[i].mean + one.mean, sums_[i].variance + one.variance}));
  }
  return std::max(0.0, most - Need());
}

double MemoryPortfolio::Share(const GrowingAnswer& answer) const {
  const Moments one = At(peak_, answer);
  const double variance = std::max(sums_[peak_].variance, one.variance);
  return one.mean + (variance > 0 ? deviations_ * one.variance / std::sqrt(variance) : 0);
}

}  // namespace hadal::admission
