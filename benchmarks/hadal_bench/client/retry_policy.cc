// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/retry_policy.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr int kGrpcUnavailable = 14;
constexpr int kGrpcResourceExhausted = 8;

double Uniform(std::mt19937_64& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

// Retry-After as an integer or a date; nothing for anything else.
std::optional<double> RetryAfterSeconds(const std::string& text) {
  int64_t seconds;
  if (absl::SimpleAtoi(text, &seconds) && seconds >= 0) return static_cast<double>(seconds);
  absl::Time time;
  std::string error;
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", text, &time, &error)) {
    return std::max(0.0, absl::ToDoubleSeconds(time - absl::Now()));
  }
  return std::nullopt;
}

class NoRetry final : public RetryPolicy {
 public:
  explicit NoRetry(int) {}
  std::optional<double> NextDelay(const CallResult&, int, std::mt19937_64&) override { return std::nullopt; }
};

class Obey final : public RetryPolicy {
 public:
  explicit Obey(int max_attempts) : max_attempts_(max_attempts > 0 ? max_attempts : 5) {}
  std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64& random) override {
    const RetryAdvice& advice = result.advice;
    if (attempts >= max_attempts_ || advice.should_retry == "false") return std::nullopt;
    if (advice.pushback_ms && *advice.pushback_ms < 0) return std::nullopt;
    const bool lost = result.status == 0 && result.grpc_code < 0 && result.reason != "timeout";
    const bool retryable = result.status == 408 || result.status == 409 || result.status == 429 ||
                           result.status >= 500 || result.end == CallEnd::kRefused || lost;
    if (!retryable && advice.should_retry != "true") return std::nullopt;
    if (const std::optional<double> hint = HintSeconds(advice)) return hint;
    return std::min(8.0, 0.5 * std::pow(2, attempts - 1)) * Uniform(random, 0.75, 1.0);
  }
  bool CountsAttempts() const override { return true; }

 private:
  const int max_attempts_;
};

class Urllib3 final : public RetryPolicy {
 public:
  explicit Urllib3(int max_attempts) : max_attempts_(max_attempts > 0 ? max_attempts : 6) {}
  std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64&) override {
    if (attempts >= max_attempts_) return std::nullopt;
    const int status = result.status;
    const bool listed = status == 500 || status == 502 || status == 503 || status == 504;
    const bool lost = status == 0 && result.grpc_code < 0 && result.reason != "timeout";
    const auto& header = result.advice.retry_after;
    const bool respects = header && (status == 413 || status == 429 || status == 503);
    if (!listed && !respects && !lost) return std::nullopt;
    if (header && !lost) return RetryAfterSeconds(*header);  // a fraction raises InvalidHeader
    return attempts <= 1 ? 0.0 : std::min(120.0, 0.5 * std::pow(2, attempts - 1));
  }

 private:
  const int max_attempts_;
};

class Backoff : public RetryPolicy {
 public:
  explicit Backoff(int max_attempts) : max_attempts_(max_attempts > 0 ? max_attempts : 5) {}
  std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64& random) override {
    if (attempts >= max_attempts_ || !IsBusy(result)) return std::nullopt;
    return std::min(0.5 * std::pow(2, attempts - 1) * Uniform(random, 0.9, 1.1), 30.0);
  }

 private:
  virtual bool IsBusy(const CallResult& result) const { return result.end == CallEnd::kRefused; }

  const int max_attempts_;
};

class TextMatcher final : public Backoff {
 public:
  using Backoff::Backoff;

 private:
  bool IsBusy(const CallResult& result) const override {
    return result.message.find("服务器繁忙") != std::string::npos;
  }
};

class Immediate final : public RetryPolicy {
 public:
  explicit Immediate(int max_attempts) : max_attempts_(max_attempts > 0 ? max_attempts : 5) {}
  std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64&) override {
    if (attempts >= max_attempts_ || result.end != CallEnd::kRefused) return std::nullopt;
    return 0.0;
  }

 private:
  const int max_attempts_;
};

class GrpcServiceConfig final : public RetryPolicy {
 public:
  explicit GrpcServiceConfig(int max_attempts) : max_attempts_(max_attempts > 0 ? std::min(5, max_attempts) : 5) {}
  std::optional<double> NextDelay(const CallResult& result, int attempts, std::mt19937_64& random) override {
    const bool listed = result.grpc_code == kGrpcUnavailable || result.grpc_code == kGrpcResourceExhausted ||
                        result.status == 503 || result.status == 429;
    const std::optional<int64_t>& pushback = result.advice.pushback_ms;
    if (listed || (pushback && *pushback < 0)) tokens_ = std::max(0.0, tokens_ - 1);
    if (!listed || attempts >= max_attempts_ || tokens_ <= kMaxTokens / 2) return std::nullopt;
    if (pushback) return *pushback < 0 ? std::nullopt : std::optional<double>(static_cast<double>(*pushback) / 1000);
    return Uniform(random, 0, std::min(30.0, 0.5 * std::pow(2, attempts - 1)));
  }
  void OnServed() override { tokens_ = std::min(kMaxTokens, tokens_ + 1); }
  bool CountsAttempts() const override { return true; }

 private:
  static constexpr double kMaxTokens = 100;  // retryThrottling.maxTokens, with tokenRatio 1
  const int max_attempts_;
  double tokens_ = kMaxTokens;
};

template <typename Policy>
std::unique_ptr<RetryPolicy> Make(int max_attempts) {
  return std::make_unique<Policy>(max_attempts);
}

struct Named {
  const char* name;
  std::unique_ptr<RetryPolicy> (*make)(int max_attempts);
};
constexpr Named kModels[] = {{"none", Make<NoRetry>},          {"obey", Make<Obey>},
                             {"urllib3", Make<Urllib3>},       {"backoff", Make<Backoff>},
                             {"text", Make<TextMatcher>},      {"immediate", Make<Immediate>},
                             {"grpc", Make<GrpcServiceConfig>}};

}  // namespace

std::optional<double> HintSeconds(const RetryAdvice& advice) {
  if (advice.pushback_ms && *advice.pushback_ms >= 0) return static_cast<double>(*advice.pushback_ms) / 1000;
  double milliseconds;
  if (advice.retry_after_ms && absl::SimpleAtod(*advice.retry_after_ms, &milliseconds) && milliseconds >= 0) {
    return milliseconds / 1000;
  }
  double seconds;  // a fraction is none of HTTP's, but openai's clients take one
  if (advice.retry_after && absl::SimpleAtod(*advice.retry_after, &seconds) && seconds >= 0 && std::isfinite(seconds)) {
    return seconds;
  }
  if (advice.retry_after) return RetryAfterSeconds(*advice.retry_after);
  return std::nullopt;
}

std::vector<std::string> RetryPolicyNames() {
  std::vector<std::string> names;
  for (const Named& model : kModels) names.emplace_back(model.name);
  return names;
}

absl::StatusOr<std::unique_ptr<RetryPolicy>> MakeRetryPolicy(std::string_view model, int max_attempts) {
  for (const Named& known : kModels) {
    if (known.name == model) return known.make(max_attempts);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("expected one of ", absl::StrJoin(RetryPolicyNames(), ", "), ", found '", base::View(model), "'"));
}

}  // namespace hadal::bench
