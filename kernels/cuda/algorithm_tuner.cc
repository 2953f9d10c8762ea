// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/algorithm_tuner.h"

#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::kernels::cuda {
namespace {

constexpr double kGain = 0.98;  // another algorithm must take at most so much of the first choice's time

int64_t SteadyMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

AlgorithmTuner::Options WithClock(AlgorithmTuner::Options options) {
  if (options.now_us == nullptr) options.now_us = SteadyMicroseconds;
  const auto drop = [](absl::string_view) {};
  if (options.note == nullptr) options.note = drop;
  if (options.warn == nullptr) options.warn = drop;
  return options;
}

}  // namespace

AlgorithmTuner::AlgorithmTuner(AlgorithmScope scope, Options options)
    : scope_(std::move(scope)),
      options_(WithClock(std::move(options))),
      path_(options_.folder.empty() ? std::string() : absl::StrCat(options_.folder, "/", AlgorithmFileName(scope_))) {
  Read();
}

void AlgorithmTuner::Read() {
  if (path_.empty()) return;
  absl::StatusOr<AlgorithmTable> kept = ReadAlgorithms(path_, scope_);
  if (kept.ok()) {
    table_ = *std::move(kept);
  } else if (absl::IsFailedPrecondition(kept.status())) {  // after an update
    options_.note(absl::StrCat("algorithms of products are chosen anew: ", kept.status().message()));
  } else if (!absl::IsNotFound(kept.status())) {
    options_.warn(absl::StrCat("algorithms of products are chosen anew: ", kept.status().message()));
  }
}

void AlgorithmTuner::Begin() {
  warming_up_ = true;
  spent_us_ = timed_ = left_ = 0;
  found_.clear();
}

void AlgorithmTuner::End() {
  if (!std::exchange(warming_up_, false)) return;
  if (timed_ > 0) Write();
  if (timed_ + left_ == 0 && found_.empty()) return;
  options_.note(absl::StrFormat("algorithms of products: %d shapes timed in %.2f s, %d from %s, %d without time for it",
                                timed_, static_cast<double>(spent_us_) * 1e-6, found_.size(),
                                path_.empty() ? "no file" : path_.c_str(), left_));
}

// Another process may have written since this one has read: what it found is kept, too.
void AlgorithmTuner::Write() {
  if (path_.empty()) return;
  if (absl::StatusOr<AlgorithmTable> now = ReadAlgorithms(path_, scope_); now.ok()) table_.merge(*now);
  const absl::Status written = WriteAlgorithms(path_, scope_, table_);
  if (written.ok()) return;
  const std::string line = absl::StrCat("algorithms of products are not kept for the next start: ", written.message());
  (absl::IsPermissionDenied(written) ? options_.note : options_.warn)(line);
}

const LtAlgorithm* AlgorithmTuner::Find(const GemmShape& shape) {
  const auto found = table_.find(shape);
  if (found == table_.end()) return nullptr;
  found_.insert(shape);
  return &found->second;
}

size_t AlgorithmTuner::Choose(const GemmShape& shape, absl::Span<const LtAlgorithm> candidates, Stopwatch stopwatch) {
  if (!warming_up_ || options_.limit_us == 0) return 0;
  if (!timing()) {
    ++left_;
    return 0;
  }
  const int64_t start = options_.now_us(), deadline = start + options_.limit_us - spent_us_;
  constexpr double kNever = std::numeric_limits<double>::infinity();
  size_t best = 0;
  double least = kNever;
  bool in_time = true;
  for (size_t i = 0; i < candidates.size() && in_time; ++i) {
    const std::optional<double> us = stopwatch(candidates[i]);
    in_time = options_.now_us() < deadline;
    const double cost = !us.has_value() ? kNever : i == 0 ? *us * kGain : *us;
    if (cost >= least) continue;
    best = i;
    least = cost;
  }
  spent_us_ += options_.now_us() - start;
  if (!in_time) {
    ++left_;
    return 0;
  }
  if (least == kNever) return 0;  // the caller hears of it when it runs the first one
  ++timed_;
  table_[shape] = candidates[best];
  return best;
}

}  // namespace hadal::kernels::cuda
