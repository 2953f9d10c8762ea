// SPDX-License-Identifier: Apache-2.0
// Load for grpc_stream.py and refusals.py: keeps a number of streaming Generate calls open and counts what arrives.
// Usage: grpc_stream_client TARGET STREAMS CHANNELS TOKENS_PER_CALL SECONDS [CA_FILE]; prints one line of JSON. With
// CA_FILE under TLS: the server's certificate must be signed by an authority of that PEM file. A call that is refused
// (UNAVAILABLE by the server) is counted and followed by the next at once; one that fails otherwise ends in exit 1.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/hadal_bench/report/histogram.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Totals {
  std::atomic<int64_t> messages{0}, tokens{0};
  std::atomic<bool> stop{false};

  std::mutex mutex;  // guards all below
  std::condition_variable idle;
  int open = 0;
  bool measuring = false;
  int64_t calls = 0, refused = 0, failures = 0;
  hadal::bench::Histogram refusal;  // from the start of a call to its refusal, while measuring
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
    if (response_.has_usage())
      totals_->tokens.fetch_add(response_.usage().completion_tokens(), std::memory_order_relaxed);
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    Totals* const totals = totals_;
    if (!totals->stop.load()) Start(stub_, totals, tokens_);
    const double took_s = std::chrono::duration<double>(Clock::now() - started_).count();
    delete this;
    // Whoever counts the last stream lets main return, so nothing of it may be touched behind this block.
    std::lock_guard<std::mutex> lock(totals->mutex);
    ++totals->calls;
    // A connection that fails is UNAVAILABLE as well, but only a server's answer has details.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !status.error_details().empty()) {
      ++totals->refused;
      if (totals->measuring) totals->refusal.AddSeconds(took_s);
    } else if (!status.ok() && totals->failures++ == 0) {
      std::fprintf(stderr, "call failed: %d %s\n", status.error_code(), status.error_message().c_str());
    }
    if (--totals->open == 0) totals->idle.notify_all();
  }

 private:
  Stream(hadal::v1::Inference::Stub* stub, Totals* totals, int tokens)
      : stub_(stub), totals_(totals), tokens_(tokens) {}

  void StartCall_() {
    {
      std::lock_guard<std::mutex> lock(totals_->mutex);
      ++totals_->open;
    }
    started_ = Clock::now();
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
  Clock::time_point started_;
  grpc::ClientContext context_;
  hadal::v1::GenerateRequest request_;
  hadal::v1::GenerateResponse response_;
};

// TLS with the authorities of `ca_file`, or plain text when it is null; null when the file cannot be read.
std::shared_ptr<grpc::ChannelCredentials> Credentials(const char* ca_file) {
  if (ca_file == nullptr) return grpc::InsecureChannelCredentials();
  std::ifstream file(ca_file);
  const std::string pem{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (pem.empty()) {
    std::fprintf(stderr, "grpc_stream_client: CA_FILE '%s' cannot be read\n", ca_file);
    return nullptr;
  }
  return grpc::SslCredentials({.pem_root_certs = pem, .pem_private_key = {}, .pem_cert_chain = {}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(stderr, "usage: grpc_stream_client TARGET STREAMS CHANNELS TOKENS_PER_CALL SECONDS [CA_FILE]\n");
    return 2;
  }
  const int streams = std::atoi(argv[2]), channels = std::atoi(argv[3]), tokens = std::atoi(argv[4]);
  const double seconds = std::atof(argv[5]);
  const std::shared_ptr<grpc::ChannelCredentials> credentials = Credentials(argc == 7 ? argv[6] : nullptr);
  if (credentials == nullptr) return 2;
  std::vector<std::unique_ptr<hadal::v1::Inference::Stub>> stubs;
  for (int i = 0; i < channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("hadal.channel", i);  // channels with different arguments do not share a connection
    stubs.push_back(hadal::v1::Inference::NewStub(grpc::CreateCustomChannel(argv[1], credentials, arguments)));
  }
  Totals totals;
  for (int i = 0; i < streams; ++i) Stream::Start(stubs[i % channels].get(), &totals, tokens);

  const auto sleep = [](double s) { std::this_thread::sleep_for(std::chrono::duration<double>(s)); };
  sleep(seconds * 0.2);  // warm-up
  const int64_t tokens_before = totals.tokens.load(), messages_before = totals.messages.load();
  const auto start = Clock::now();
  {
    std::lock_guard<std::mutex> lock(totals.mutex);
    totals.measuring = true;
  }
  sleep(seconds);
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  const int64_t got = totals.tokens.load() - tokens_before, messages = totals.messages.load() - messages_before;
  totals.stop = true;

  std::unique_lock<std::mutex> lock(totals.mutex);
  totals.measuring = false;
  if (!totals.idle.wait_for(lock, std::chrono::seconds(60), [&] { return totals.open == 0; })) {
    std::fprintf(stderr, "%d calls do not end\n", totals.open);
    std::_Exit(1);  // their callbacks would touch what main destroys
  }
  const double refused = static_cast<double>(totals.refusal.count());
  std::printf(
      "{\"seconds\": %.3f, \"tokens_per_s\": %.0f, \"messages_per_s\": %.0f, \"calls\": %lld, \"failures\": %lld, "
      "\"refused\": %lld, \"refusals_per_s\": %.0f, \"refusal_p50_s\": %.6f, \"refusal_p99_s\": %.6f}\n",
      elapsed, static_cast<double>(got) / elapsed, static_cast<double>(messages) / elapsed,
      static_cast<long long>(totals.calls), static_cast<long long>(totals.failures),
      static_cast<long long>(totals.refused), refused / elapsed, totals.refusal.QuantileSeconds(0.5),
      totals.refusal.QuantileSeconds(0.99));
  return totals.failures == 0 ? 0 : 1;
}
