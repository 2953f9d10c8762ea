// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// One length in tokens, by its quantile function: a fixed number, a lognormal whose tail beyond p99.9 is cut off, or
// the quantiles of a trace.
class LengthDistribution {
 public:
  static LengthDistribution Fixed(int tokens);
  // Of the logarithm: mean `mu`, standard deviation `sigma`.
  static LengthDistribution Lognormal(double mu, double sigma);

  // (share, tokens) with shares from 0 to 1 in ascending order, at least two; between them the logarithm is linear. For
  // lengths of several kinds, which no lognormal describes.
  static LengthDistribution OfQuantiles(std::vector<std::pair<double, int>> quantiles);

  // `u` in [0, 1): uniform numbers give lengths of this distribution, at least 1.
  int Quantile(double u) const;

 private:
  bool fixed_ = true;
  double mu_ = 0, sigma_ = 0;
  int tokens_ = 1;
  std::vector<std::pair<double, int>> quantiles_;  // empty: one of the others
};

// Prompt and output length of a workload, independent of each other as in the published traces.
struct LengthMix {
  std::string name;
  std::string origin;  // where the numbers are from; shown in reports
  LengthDistribution prompt, output;
};

// Classes of prompt lengths that reports tell apart, so that nobody hides behind short prompts.
struct LengthClass {
  const char* name;
  int max_prompt_tokens;
};
inline constexpr LengthClass kLengthClasses[] = {{"prompt <= 256", 256},
                                                 {"prompt <= 1k", 1024},
                                                 {"prompt <= 4k", 4096},
                                                 {"prompt <= 16k", 16384},
                                                 {"prompt > 16k", std::numeric_limits<int>::max()}};
// The index into kLengthClasses.
size_t LengthClassOf(int prompt_tokens);

// A published mix by name, or "PROMPT:OUTPUT" in tokens. InvalidArgument lists the names.
absl::StatusOr<LengthMix> ParseLengthMix(std::string_view text);
// The names that ParseLengthMix knows, for help texts.
std::vector<std::string> LengthMixNames();

// Inverse of the standard normal distribution's cumulative function, for p in (0, 1); relative error below 1e-8.
double NormalQuantile(double p);

}  // namespace hadal::bench
