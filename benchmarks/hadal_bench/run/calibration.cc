// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/run/calibration.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"

namespace hadal::bench {
namespace {

constexpr int kShortWords = 8, kLongWords = 108, kOutputTokens = 4, kAttempts = 5;

// Waits for one call.
class Waiter final : public CallObserver {
 public:
  explicit Waiter(boost::asio::io_context* io) : work_(boost::asio::make_work_guard(*io)) {}
  void OnContent(size_t) override {}
  void OnEnd(const CallResult& ended) override {
    result = ended;
    work_.reset();
  }
  CallResult result;

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
};

CallResult CallOnce(boost::asio::io_context* io, Transport* transport, const CallSpec& spec, double timeout_s) {
  Waiter waiter(io);
  const uint64_t id = transport->Start(spec, &waiter);
  boost::asio::steady_timer timer(*io);
  timer.expires_after(std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000)));
  bool ended = false;
  timer.async_wait([&](boost::system::error_code error) {
    if (!error && !ended) transport->Cancel(id, "timeout");
  });
  io->restart();
  while (waiter.result.reason.empty() && waiter.result.end != CallEnd::kServed && io->run_one() > 0) {
  }
  ended = true;
  timer.cancel();
  io->run();
  return waiter.result;
}

CallResult CallPatiently(boost::asio::io_context* io, Transport* transport, const CallSpec& spec, double timeout_s) {
  const auto policy = MakeRetryPolicy("obey", kAttempts);
  std::mt19937_64 random(1);
  for (int attempt = 1;; ++attempt) {
    CallResult result = CallOnce(io, transport, spec, timeout_s);
    if (result.end != CallEnd::kRefused) return result;
    const std::optional<double> delay = (*policy)->NextDelay(result, attempt, random);
    if (!delay) return result;
    absl::SleepFor(absl::Seconds(*delay));
  }
}

// A model may have nothing to say to random words; that is an answer all the same.
bool Answered(const CallResult& result) { return result.end == CallEnd::kServed || result.reason == "empty_answer"; }

absl::Status CallError(const CallResult& result) {
  const std::string where = result.status > 0 ? absl::StrCat("HTTP ", result.status, ", ") : "";
  return absl::UnavailableError(absl::StrCat("the server did not answer a short request: ", where, result.reason,
                                             result.message.empty() ? "" : ": ", result.message.substr(0, 300)));
}

}  // namespace

absl::StatusOr<Calibration> Calibrate(boost::asio::io_context* io, Transport* transport, const Prompts& prompts,
                                      ExactLength exact_length, const std::string& api_key, double timeout_s) {
  Calibration found;
  found.exact_length = exact_length != ExactLength::kOff;
  const TokenScale words{.overhead = 0, .per_word = 1};
  const auto call = [&](int count) {
    PlannedRequest request;
    request.prompt_tokens = count;
    request.prompt_seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
    const std::string prompt = prompts.Make(request, 0, words, 0);
    CallSpec spec;
    spec.prompt = prompt;
    spec.max_tokens = kOutputTokens;
    spec.exact_length = found.exact_length;
    spec.api_key = api_key;
    return CallPatiently(io, transport, spec, timeout_s);
  };
  CallResult small = call(kShortWords);
  const bool complained = small.status == 400 || small.status == 422 || small.grpc_code == 3;
  if (exact_length == ExactLength::kAuto && complained) {
    found.exact_length = false;
    small = call(kShortWords);
  }
  if (!Answered(small)) return CallError(small);
  if (prompts.from_file() || small.prompt_tokens <= 0) return found;
  const CallResult large = call(kLongWords);
  if (!Answered(large) || large.prompt_tokens <= small.prompt_tokens) return found;
  found.scale.per_word = static_cast<double>(large.prompt_tokens - small.prompt_tokens) / (kLongWords - kShortWords);
  found.scale.overhead = small.prompt_tokens - kShortWords * found.scale.per_word;
  found.scale.measured = true;
  return found;
}

}  // namespace hadal::bench
