// SPDX-License-Identifier: Apache-2.0
#include "server/admission/step_time_model.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

// Inputs of a busy step come to about 1, so that the covariance is well conditioned.
constexpr double kSequences = 64;
constexpr double kContextTokens = 64 * 1024;
constexpr double kPrefillTokens = 1024;

constexpr double kForget = 0.999;
constexpr double kStartCover = 100;
// Steps that are all alike teach nothing about the parts they do not vary, and forgetting would make them forget those.
constexpr double kMostCover = 4 * kStartCover;
// A step that took many times longer than foreseen (a page fault, a neighbour) counts as so many times.
constexpr double kMostSurprise = 3;
constexpr int kLearningSteps = 20;

}  // namespace

void StepTimeModel::Record(const StepSample& sample) {
  const Vector x = {1, sample.sequences / kSequences, sample.context_tokens / kContextTokens,
                    sample.prefill_tokens / kPrefillTokens};
  if (steps_ == 0) {
    parts_[0] = sample.seconds;
    for (int i = 0; i < kParts; ++i) cover_[i][i] = kStartCover;
  }
  ++steps_;
  Vector gain = {};
  double spread = kForget;
  double expected = 0;
  for (int i = 0; i < kParts; ++i) {
    for (int j = 0; j < kParts; ++j) gain[i] += cover_[i][j] * x[j];
    spread += gain[i] * x[i];
    expected += parts_[i] * x[i];
  }
  double seconds = sample.seconds;
  if (steps_ > kLearningSteps && expected > 0) seconds = std::min(seconds, kMostSurprise * expected);
  double trace = 0;
  for (int i = 0; i < kParts; ++i) {
    parts_[i] += gain[i] / spread * (seconds - expected);
    for (int j = 0; j < kParts; ++j) cover_[i][j] -= gain[i] * gain[j] / spread;
    trace += cover_[i][i];
  }
  if (trace < kMostCover) {
    for (Vector& row : cover_) {
      for (double& value : row) value /= kForget;
    }
  }
}

StepTime StepTimeModel::Get() const {
  // A part below 0 makes up for one that is too large, as where sequences and their context grow together: taken as 0
  // alone, it would leave that one as it is. So the others are fitted anew beside it.
  Vector parts = parts_;
  std::array<Vector, kParts> cover = cover_;
  for (int fixed = 0; fixed < kParts; ++fixed) {
    const auto lowest = static_cast<size_t>(std::min_element(parts.begin(), parts.end()) - parts.begin());
    if (parts[lowest] >= 0 || !(cover[lowest][lowest] > 0)) break;
    const Vector column = cover[lowest];
    const double change = parts[lowest] / column[lowest];
    for (size_t i = 0; i < kParts; ++i) {
      parts[i] -= column[i] * change;
      for (size_t j = 0; j < kParts; ++j) cover[i][j] -= column[i] * column[j] / column[lowest];
    }
    parts[lowest] = 0;
  }
  StepTime time;
  time.step_s = std::max(0.0, parts[0]);
  time.sequence_s = std::max(0.0, parts[1]) / kSequences;
  time.context_token_s = std::max(0.0, parts[2]) / kContextTokens;
  time.prefill_token_s = std::max(0.0, parts[3]) / kPrefillTokens;
  return time;
}

}  // namespace hadal::admission
