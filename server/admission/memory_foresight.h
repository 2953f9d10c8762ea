// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/sync.h"
#include "server/admission/engine_load.h"
#include "server/admission/length_histogram.h"
#include "server/admission/memory_portfolio.h"
#include "server/request/request.h"

namespace hadal::admission {

// How many KV blocks long answers of a model lease, so that all their leases together are what their MemoryPortfolio
// needs: a new one as much as that need grows by it, a running one its share, which changes with its length and with
// what else runs. Others keep the lease of their start, by rules of their own: answers that are small beside the pool,
// of which so many run that their lengths even out, and on whose ends clients that return can count; answers of a kind
// of which too few have ended; and requests with several choices, which share their prompt. Thread-safe.
class MemoryForesight {
 public:
  // Long are answers of a kind of which one in a hundred takes a tenth of the pool.
  static constexpr double kLongQuantile = 0.99, kLongShare = 0.1;

  MemoryForesight(int32_t block_tokens, int64_t pool_blocks)
      : block_tokens_(block_tokens), long_tokens_(kLongShare * static_cast<double>(pool_blocks * block_tokens)) {}

  // From now on these run.
  void Renew(const OutputLengths& lengths, double deviations, const std::vector<RunningSequence>& running);
  // Whether the answer may be long. Else the others that ask about a request have no value.
  bool Knows(const request::Request& request) const;
  // Blocks for a new request, of whose prompt `shared` blocks are leased by others; at least those of the prompt.
  std::optional<int64_t> Increase(const request::Request& request, int64_t shared) const;
  // It was leased that.
  void Add(const request::Request& request, int64_t shared);
  // Blocks for a running request whose answer has `produced` tokens.
  std::optional<int64_t> Share(const request::Request& request, int32_t produced, int64_t shared) const;

 private:
  int64_t BlocksFor(int64_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  struct Kind {
    LengthCurve lengths;
    double longest = 0;  // tokens that one in a hundred has
  };
  const Kind& KindOf(request::Priority priority, bool thinking) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return kinds_[thinking][static_cast<size_t>(priority)];
  }
  bool IsLong(const request::Request& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  GrowingAnswer AnswerOf(const request::Request& request, int32_t produced, int64_t shared) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  GrowingAnswer AnswerOf(const RunningSequence& sequence) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `blocks`, but at least those of the prompt, and no more than it can ever hold.
  int64_t Limited(double blocks, const request::Request& request, int64_t shared) const;

  const int32_t block_tokens_;
  const double long_tokens_;
  mutable base::Mutex mutex_;
  std::array<std::array<Kind, request::kNumPriorities>, 2> kinds_ ABSL_GUARDED_BY(mutex_);  // [thinking][class]
  std::optional<MemoryPortfolio> portfolio_ ABSL_GUARDED_BY(mutex_);  // of those that run, and new ones since Renew
};

}  // namespace hadal::admission
