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

constexpr int kOutputTokens = 4, kAttempts = 5;

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

// `calls` counts the attempts.
CallResult CallPatiently(boost::asio::io_context* io, Transport* transport, const CallSpec& spec, double timeout_s,
                         int* calls) {
  const auto policy = MakeRetryPolicy("obey", kAttempts);
  std::mt19937_64 random(1);
  for (int attempt = 1;; ++attempt) {
    ++*calls;
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

std::optional<CallForm> SimplerForm(CallForm form, ExactLength exact_length, std::string_view message) {
  const auto names = [&](std::string_view word) { return message.find(word) != std::string_view::npos; };
  if (names("max_completion_tokens") && !form.max_completion_tokens) {
    form.max_completion_tokens = true;
  } else if ((names("stream_options") || names("include_usage")) && form.usage) {
    form.usage = false;
  } else if (form.exact_length && exact_length == ExactLength::kAuto) {
    form.exact_length = false;
  } else if (form.usage) {
    form.usage = false;
  } else {
    return std::nullopt;
  }
  return form;
}

absl::StatusOr<Calibration> Calibrate(boost::asio::io_context* io, Transport* transport, const Prompts& prompts,
                                      ExactLength exact_length, const std::string& api_key, double timeout_s) {
  Calibration found;
  found.form.exact_length = exact_length != ExactLength::kOff;
  const auto call = [&](int times) {
    const std::string prompt = prompts.EveryWord(times, static_cast<uint64_t>(absl::ToUnixNanos(absl::Now())));
    CallSpec spec;
    spec.prompt = prompt;
    spec.max_tokens = kOutputTokens;
    spec.form = found.form;
    spec.api_key = api_key;
    return CallPatiently(io, transport, spec, timeout_s, &found.calls);
  };
  CallResult small = call(1);
  while (small.status == 400 || small.status == 422 || small.grpc_code == 3) {
    const std::optional<CallForm> simpler = SimplerForm(found.form, exact_length, small.message);
    if (!simpler) break;
    found.form = *simpler;
    small = call(1);
  }
  if (!Answered(small)) return CallError(small);
  if (prompts.from_file() || small.prompt_tokens <= 0) return found;
  const CallResult large = call(2);
  if (!Answered(large) || large.prompt_tokens <= small.prompt_tokens) return found;
  // The second round of the words costs what they cost, without the template and without the prompt's own first word.
  found.scale.per_word = static_cast<double>(large.prompt_tokens - small.prompt_tokens) / Prompts::different_words();
  found.scale.overhead = small.prompt_tokens - (1 + Prompts::different_words()) * found.scale.per_word;
  found.scale.measured = true;
  return found;
}

}  // namespace hadal::bench
