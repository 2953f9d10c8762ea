// SPDX-License-Identifier: Apache-2.0
// Load for benchmarks/grpc_stream.py: keeps a number of streaming Generate calls open and counts what arrives.
// Usage: grpc_stream_client TARGET STREAMS CHANNELS TOKENS_PER_CALL SECONDS; prints one line of JSON.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "hadal/v1/inference.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Totals {
  std::atomic<int64_t> messages{0}, tokens{0}, calls{0}, failures{0};
  std::atomic<bool> stop{false};
  std::atomic<int> open{0};
  std::mutex mutex;
  std::condition_variable idle;
};

// One stream: starts a call, reads it to its end, starts the next until told to stop. Owns itself.
class Stream final : public grpc::ClientReadReactor<hadal::v1::GenerateResponse> {
 public:
  static void Start(hadal::v1::Inference::Stub* stub, Totals* totals, int tokens) {
    auto* stream = new Stream(stub, totals, tokens);
    stream->StartCall_();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    totals_->messages.fetch_add(1, std::memory_order_relaxed);
    if (response_.has_usage()) totals_->tokens.fetch_add(response_.usage().completion_tokens(), std::memory_order_relaxed);
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    totals_->calls.fetch_add(1);
    if (!status.ok() && totals_->failures.fetch_add(1) == 0) {
      std::fprintf(stderr, "call failed: %d %s\n", status.error_code(), status.error_message().c_str());
    }
    if (!totals_->stop.load()) Start(stub_, totals_, tokens_);
    if (totals_->open.fetch_sub(1) == 1) {
      std::lock_guard<std::mutex> lock(totals_->mutex);
      totals_->idle.notify_all();
    }
    delete this;
  }

 private:
  Stream(hadal::v1::Inference::Stub* stub, Totals* totals, int tokens) : stub_(stub), totals_(totals), tokens_(tokens) {}

  void StartCall_() {
    totals_->open.fetch_add(1);
    request_.set_text("1 + 1");
    request_.mutable_stopping()->set_max_tokens(tokens_);
    request_.mutable_stopping()->set_ignore_eos(true);
    stub_->async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  hadal::v1::Inference::Stub* const stub_;
  Totals* const totals_;
  const int tokens_;
  grpc::ClientContext context_;
  hadal::v1::GenerateRequest request_;
  hadal::v1::GenerateResponse response_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: grpc_stream_client TARGET STREAMS CHANNELS TOKENS_PER_CALL SECONDS\n");
    return 2;
  }
  const int streams = std::atoi(argv[2]), channels = std::atoi(argv[3]), tokens = std::atoi(argv[4]);
  const double seconds = std::atof(argv[5]);
  std::vector<std::unique_ptr<hadal::v1::Inference::Stub>> stubs;
  for (int i = 0; i < channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("hadal.channel", i);  // channels with different arguments do not share a connection
    stubs.push_back(hadal::v1::Inference::NewStub(
        grpc::CreateCustomChannel(argv[1], grpc::InsecureChannelCredentials(), arguments)));
  }
  Totals totals;
  for (int i = 0; i < streams; ++i) Stream::Start(stubs[i % channels].get(), &totals, tokens);

  const auto sleep = [](double s) { std::this_thread::sleep_for(std::chrono::duration<double>(s)); };
  sleep(seconds * 0.2);  // warm-up
  const int64_t tokens_before = totals.tokens.load(), messages_before = totals.messages.load();
  const auto start = Clock::now();
  sleep(seconds);
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  const int64_t got = totals.tokens.load() - tokens_before, messages = totals.messages.load() - messages_before;
  totals.stop = true;
  {
    std::unique_lock<std::mutex> lock(totals.mutex);
    totals.idle.wait_for(lock, std::chrono::seconds(60), [&] { return totals.open.load() == 0; });
  }
  std::printf("{\"seconds\": %.3f, \"tokens_per_s\": %.0f, \"messages_per_s\": %.0f, \"calls\": %lld, \"failures\": %lld}\n",
              elapsed, static_cast<double>(got) / elapsed, static_cast<double>(messages) / elapsed,
              static_cast<long long>(totals.calls.load()), static_cast<long long>(totals.failures.load()));
  return totals.failures.load() == 0 ? 0 : 1;
}
