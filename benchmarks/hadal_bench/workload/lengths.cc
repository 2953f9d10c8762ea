// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/lengths.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr double kTruncation = 0.999;
constexpr int kMaxTokens = 10'000'000;

// Fitted to the bodies of the published traces. The means of the fits lie above those of the data.
const std::vector<LengthMix>& Mixes() {
  static const auto* const mixes = new std::vector<LengthMix>{
      {"azure-conversation", "Azure LLM trace 2023, conversation: lognormal fit cut at p99.9",
       LengthDistribution::Lognormal(6.63, 0.99), LengthDistribution::Lognormal(5.02, 0.86)},
      {"azure-code", "Azure LLM trace 2023, code: lognormal fit cut at p99.9",
       LengthDistribution::Lognormal(7.00, 1.36), LengthDistribution::Lognormal(2.79, 0.85)},
      {"mooncake-conversation", "Mooncake conversation trace: lognormal fit cut at p99.9",
       LengthDistribution::Lognormal(8.74, 1.20), LengthDistribution::Lognormal(5.34, 1.36)},
      // Short questions, and long documents with answers of a few tokens: two kinds of prompts, so quantiles of the
      // 3,993 requests themselves. Long prompts have short answers (correlation -0.37), which independent draws lose.
      {"mooncake-synthetic", "Mooncake synthetic trace: quantiles of its 3,993 requests",
       LengthDistribution::OfQuantiles({{0, 13},
                                        {0.05, 22},
                                        {0.1, 30},
                                        {0.2, 88},
                                        {0.25, 277},
                                        {0.3, 913},
                                        {0.4, 4365},
                                        {0.5, 11587},
                                        {0.6, 16290},
                                        {0.75, 23175},
                                        {0.9, 38611},
                                        {0.95, 48905},
                                        {0.99, 66456},
                                        {1, 191378}}),
       LengthDistribution::OfQuantiles({{0, 1},
                                        {0.1, 4},
                                        {0.2, 8},
                                        {0.3, 16},
                                        {0.4, 32},
                                        {0.5, 69},
                                        {0.6, 126},
                                        {0.7, 210},
                                        {0.8, 289},
                                        {0.9, 389},
                                        {0.95, 519},
                                        {0.99, 768},
                                        {1, 893}})},
      {"sharegpt", "ShareGPT as fixed means with DeepSeek-V2-Lite's tokenizer", LengthDistribution::Fixed(236),
       LengthDistribution::Fixed(149)},
      {"thinking",
       "hadal's own mix, from no trace: short questions, outputs of thousands of tokens (median 2,000, p99 20,000)",
       LengthDistribution::Lognormal(5.30, 0.90), LengthDistribution::Lognormal(7.60, 0.99)},
  };
  return *mixes;
}

}  // namespace

double NormalQuantile(double p) {
  // Acklam's rational approximation, then one step of Halley's method against the error function.
  static constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                                 1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  static constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                                 6.680131188771972e+01, -1.328068155288572e+01};
  static constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                                 -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  static constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                                 3.754408661907416e+00};
  const auto tail = [](double q) {
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
  };
  double x;
  if (p < 0.02425) {
    x = tail(std::sqrt(-2 * std::log(p)));
  } else if (p > 1 - 0.02425) {
    x = -tail(std::sqrt(-2 * std::log(1 - p)));
  } else {
    const double q = p - 0.5, r = q * q;
    x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
        (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
  }
  const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - p;
  const double step = error * std::sqrt(2 * M_PI) * std::exp(x * x / 2);
  return x - step / (1 + x * step / 2);
}

LengthDistribution LengthDistribution::Fixed(int tokens) {
  LengthDistribution distribution;
  distribution.tokens_ = tokens;
  return distribution;
}

LengthDistribution LengthDistribution::Lognormal(double mu, double sigma) {
  LengthDistribution distribution;
  distribution.fixed_ = false;
  distribution.mu_ = mu;
  distribution.sigma_ = sigma;
  return distribution;
}

LengthDistribution LengthDistribution::OfQuantiles(std::vector<std::pair<double, int>> quantiles) {
  LengthDistribution distribution;
  distribution.fixed_ = false;
  distribution.quantiles_ = std::move(quantiles);
  return distribution;
}

int LengthDistribution::Quantile(double u) const {
  if (fixed_) return tokens_;
  if (!quantiles_.empty()) {
    size_t i = 1;
    while (i + 1 < quantiles_.size() && u > quantiles_[i].first) ++i;
    const auto [low, from] = quantiles_[i - 1];
    const auto [high, to] = quantiles_[i];
    const double part = std::clamp((u - low) / (high - low), 0.0, 1.0);
    return static_cast<int>(std::lround(from * std::pow(static_cast<double>(to) / from, part)));
  }
  const double p = std::clamp(u * kTruncation, 1e-12, kTruncation);
  return std::max(1, static_cast<int>(std::lround(std::exp(mu_ + sigma_ * NormalQuantile(p)))));
}

std::vector<std::string> LengthMixNames() {
  std::vector<std::string> names;
  for (const LengthMix& mix : Mixes()) names.push_back(mix.name);
  return names;
}

size_t LengthClassOf(int prompt_tokens) {
  size_t i = 0;
  while (prompt_tokens > kLengthClasses[i].max_prompt_tokens) ++i;
  return i;
}

absl::StatusOr<LengthMix> ParseLengthMix(std::string_view text) {
  for (const LengthMix& mix : Mixes()) {
    if (mix.name == text) return mix;
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(base::View(text), ':');
  int prompt = 0, output = 0;
  if (parts.size() == 2 && absl::SimpleAtoi(parts[0], &prompt) && absl::SimpleAtoi(parts[1], &output) && prompt >= 1 &&
      output >= 1 && prompt <= kMaxTokens && output <= kMaxTokens) {
    return LengthMix{std::string(text), "fixed lengths", LengthDistribution::Fixed(prompt),
                     LengthDistribution::Fixed(output)};
  }
  return absl::InvalidArgumentError(absl::StrCat("expected PROMPT:OUTPUT in tokens (1 to 10000000) or one of ",
                                                 absl::StrJoin(LengthMixNames(), ", "), ", found '", base::View(text),
                                                 "'"));
}

}  // namespace hadal::bench
