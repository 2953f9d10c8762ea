// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/client/retry_policy.h"

namespace hadal::testing {

// What the server may say: to return in 2.4 s, which it promises; that no capacity is in sight for 25 s and a return is
// of no use; or that it has failed.
enum class Answer { kPromise, kSurplus, kFault };

// How long each client model waits before its attempts when it gets one answer again and again, until it gives up.
struct RetryCase {
  const char* model;
  Answer answer;
  struct Wait {
    double low, high;  // seconds
  };
  std::vector<Wait> waits;
};

// One table for all that drives client models: hadal-bench over the wire and hadal-sim on a virtual clock.
inline std::vector<RetryCase> RetryCases() {
  const std::vector<RetryCase::Wait> jittered = {{0.45, 0.55}, {0.9, 1.1}, {1.8, 2.2}, {3.6, 4.4}};
  const auto always = [](int times, double wait) { return std::vector<RetryCase::Wait>(times, {wait, wait}); };
  return {
      {"none", Answer::kPromise, {}},
      {"none", Answer::kFault, {}},
      {"obey", Answer::kPromise, always(4, 2.4)},
      {"obey", Answer::kSurplus, {}},
      {"obey", Answer::kFault, {}},
      {"urllib3", Answer::kPromise, always(5, 3)},
      {"urllib3", Answer::kSurplus, always(5, 25)},
      {"urllib3", Answer::kFault, {{0, 0}, {1, 1}, {2, 2}, {4, 4}, {8, 8}}},
      {"backoff", Answer::kPromise, jittered},
      {"backoff", Answer::kSurplus, jittered},
      {"backoff", Answer::kFault, {}},
      {"text", Answer::kPromise, jittered},
      {"text", Answer::kSurplus, jittered},
      {"text", Answer::kFault, {}},
      {"immediate", Answer::kPromise, always(4, 0)},
      {"immediate", Answer::kSurplus, always(4, 0)},
      {"immediate", Answer::kFault, {}},
      {"grpc", Answer::kPromise, always(4, 2.4)},
      {"grpc", Answer::kSurplus, {}},
      {"grpc", Answer::kFault, {}},
  };
}

// The waits of a client that is answered the same way until it gives up.
inline std::vector<double> RetryWaits(const std::string& model, const bench::CallResult& result, int max_attempts = 0) {
  const auto policy = bench::MakeRetryPolicy(model, max_attempts);
  EXPECT_TRUE(policy.ok()) << policy.status();
  std::mt19937_64 random(1);
  std::vector<double> waits;
  for (int attempts = 1; attempts < 100; ++attempts) {
    const auto wait = (*policy)->NextDelay(result, attempts, random);
    if (!wait) return waits;
    waits.push_back(*wait);
  }
  ADD_FAILURE() << model << " never gives up";
  return waits;
}

// `seen` gives an answer as the client sees it, over gRPC or HTTP.
inline void ExpectRetryCases(const std::function<bench::CallResult(Answer, bool over_grpc)>& seen) {
  for (const RetryCase& row : RetryCases()) {
    SCOPED_TRACE(std::string(row.model) + ", answer " + std::to_string(static_cast<int>(row.answer)));
    const std::vector<double> waits = RetryWaits(row.model, seen(row.answer, row.model == std::string("grpc")));
    ASSERT_EQ(waits.size(), row.waits.size());
    for (size_t i = 0; i < waits.size(); ++i) {
      EXPECT_GE(waits[i], row.waits[i].low) << i;
      EXPECT_LE(waits[i], row.waits[i].high) << i;
    }
  }
}

}  // namespace hadal::testing
