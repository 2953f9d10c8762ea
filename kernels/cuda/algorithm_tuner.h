// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/cuda/algorithm_file.h"
#include "kernels/cuda/gemm_plan.h"

namespace hadal::kernels::cuda {

// Which of the algorithms that cuBLASLt offers for a shape is the quickest: what a file of an earlier start says, else
// what a stopwatch says while the model warms up and there is time, else the library's first choice. Host code: the
// stopwatch is the caller's. Used by one thread at a time.
class AlgorithmTuner {
 public:
  struct Options {
    std::string folder;                           // of the file that keeps what was found; empty: nothing is kept
    int64_t limit_us = 0;                         // that timing may take in one warm-up; 0: nothing is timed
    std::function<int64_t()> now_us;              // a clock that never goes back; empty: the machine's
    std::function<void(absl::string_view)> note;  // takes a line for the log; may be empty
    std::function<void(absl::string_view)> warn;  // one that an operator should see; may be empty
  };
  // How many of the library's candidates are worth a look.
  static constexpr int kCandidates = 8;
  // Microseconds of one product by that algorithm; nothing: the library does not take it after all.
  using Stopwatch = absl::FunctionRef<std::optional<double>(const LtAlgorithm&)>;

  // Reads the file.
  AlgorithmTuner(AlgorithmScope scope, Options options);

  // From Begin to End the model warms up: nobody waits for a result. End writes the file if there is news, and says in
  // the log how many shapes were timed, taken from the file, and left for lack of time.
  void Begin();
  void End();

  // Whether Choose would time another shape.
  bool timing() const { return warming_up_ && spent_us_ < options_.limit_us; }

  // What an earlier start has found for the shape; null: nothing. The caller checks that the library still takes it,
  // and otherwise calls Forget.
  const LtAlgorithm* Find(const GemmShape& shape);
  void Forget(const GemmShape& shape) { table_.erase(shape); }

  // The index of the quickest of `candidates`, which begin with the library's first choice and are not empty. That one
  // stays unless another is quicker by more than a stopwatch errs, and when the time is up before all were timed.
  size_t Choose(const GemmShape& shape, absl::Span<const LtAlgorithm> candidates, Stopwatch stopwatch);

 private:
  void Read();
  void Write();

  const AlgorithmScope scope_;
  const Options options_;
  const std::string path_;     // empty: nothing is kept
  AlgorithmTable table_;       // of the file, and what was timed
  std::set<GemmShape> found_;  // in the file, and asked for
  bool warming_up_ = false;
  int64_t spent_us_ = 0, timed_ = 0, left_ = 0;
};

}  // namespace hadal::kernels::cuda
