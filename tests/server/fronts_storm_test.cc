// SPDX-License-Identifier: Apache-2.0
// Both fronts on one port, over real sockets, in front of a scripted engine: callers that read, go away, read slowly,
// send half a request, cancel or set deadlines, while the server drains and stops. Every call has one end, and
// everything it held goes back. HADAL_STORM_SECONDS says how long it lasts, 3 when it is not set.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "server/rpc/grpc_server.h"
#include "tests/server/grpc_storm_caller.h"
#include "tests/server/http/http_fixture.h"

namespace hadal {
namespace {

using testing::GrpcStormCaller;
using testing::HttpFixture;
using testing::HttpReply;
using testing::RawHttpClient;
using testing::Script;
using testing::StormTally;

constexpr int kCallers = 8;  // of each front
constexpr std::string_view kChat = "/v1/chat/completions";

// Runs on the engine's thread alone.
Script Shape(const request::Request& request) {
  static std::minstd_rand random(7);
  Script script;
  script.tokens = {10, 11, 12};
  script.endless = true;
  script.token_delay = std::chrono::microseconds(random() % 4 == 0 ? 500 : 0);
  script.hold = random() % 32 == 0 && request.max_tokens > 64;
  return script;
}

std::string Body(int max_tokens, bool stream) {
  return R"({"messages":[{"role":"user","content":"1 + 1"}],"max_tokens":)" + std::to_string(max_tokens) +
         (stream ? R"(,"stream":true})" : "}");
}

bool MayRefuse(int status) { return status == 429 || status == 503; }

class HttpCaller {
 public:
  HttpCaller(int port, unsigned seed, StormTally* tally) : port_(port), random_(seed), tally_(*tally) {}

  void Call() {
    switch (random_() % 6) {
      case 0:
        return ReadWhole(/*stream=*/false);
      case 1:
        return ReadWhole(/*stream=*/true);
      case 2:
        return Leave();
      case 3:
        return ReadNothing();
      case 4:
        return SendHalf();
      default:
        return AskForState();
    }
  }

 private:
  void ReadWhole(bool stream) {
    RawHttpClient client(port_);
    const HttpReply reply = client.Do("POST", kChat, Body(1 + static_cast<int>(random_() % 60), stream));
    if (reply.status == 200) {
      const bool whole =
          !stream || reply.body.ends_with("data: [DONE]\n\n") || reply.body.find("error") != reply.body.npos;
      ++(whole ? tally_.answered : tally_.wrong);
    } else if (MayRefuse(reply.status)) {
      ++tally_.refused;
    } else if (reply.status != 0) {  // 0: the server has stopped
      ++tally_.wrong;
    }
  }
  void Leave() {
    RawHttpClient client(port_);
    client.Send(RawHttpClient::Request("POST", kChat, Body(4000, true)));
    if (random_() % 2 == 0) client.WaitFor("data: ", 500);
    ++tally_.left;
  }
  void ReadNothing() {
    RawHttpClient client(port_, /*receive_buffer_bytes=*/2048);
    client.Send(RawHttpClient::Request("POST", kChat, Body(100000, true)));
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + random_() % 300));
    ++tally_.unread;
  }
  void SendHalf() {
    RawHttpClient client(port_);
    const std::string request = RawHttpClient::Request("POST", kChat, Body(10, false));
    client.Send(std::string_view(request).substr(0, random_() % request.size()));
    ++tally_.half_sent;
  }
  void AskForState() {
    RawHttpClient client(port_);
    client.Do("GET", random_() % 2 == 0 ? "/metrics" : "/health/ready");
  }

  const int port_;
  std::minstd_rand random_;
  StormTally& tally_;
};

// A server from its start to its end, under load for `time`; it drains and stops while callers go on.
void Round(unsigned seed, std::chrono::milliseconds time, StormTally* tally) {
  service::ApiKeys keys;
  std::unique_ptr<rpc::GrpcServer> rpc;
  HttpFixture::Options options;
  options.service.max_queue_requests = 12;
  options.service.max_model_len = 1 << 20;
  options.service.stream_capacity_tokens = 64;
  options.http.front.stream.slow_reader_timeout = absl::Milliseconds(150);
  options.adopt_http2 = [&rpc](int fd, base::Peer peer) { rpc->Adopt(fd, std::move(peer)); };
  auto fixture = std::make_unique<HttpFixture>(Shape, options);
  rpc::GrpcOptions rpc_options;
  rpc_options.port = -1;
  rpc_options.front.stream.slow_reader_timeout = absl::Milliseconds(150);
  rpc = rpc::GrpcServer::Start(rpc_options, fixture->base.service.get(), &keys).value();

  std::atomic<bool> over{false};
  std::vector<std::thread> callers;
  for (unsigned i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      HttpCaller caller(fixture->port(), seed * 100 + i, tally);
      while (!over.load()) caller.Call();
    });
    callers.emplace_back([&, i] {
      GrpcStormCaller caller(fixture->port(), seed * 100 + 50 + i, tally);
      while (!over.load()) caller.Call();
    });
  }
  std::this_thread::sleep_for(time);
  fixture->base.admission->BeginDrain();
  fixture->server->BeginDrain();
  std::this_thread::sleep_for(time / 4);
  rpc->Shutdown(absl::Milliseconds(50));
  fixture->server->Stop();
  over.store(true);
  for (std::thread& caller : callers) caller.join();

  EXPECT_TRUE(fixture->base.WaitEmpty(absl::Seconds(20)));
  EXPECT_EQ(fixture->server->active_calls(), 0);
  EXPECT_EQ(fixture->server->open_connections(), 0);
  EXPECT_EQ(rpc->calls_in_progress(), 0);
}

TEST(FrontsStormTest, EveryCallEndsAndGivesEverythingBack) {
  const char* const wanted = std::getenv("HADAL_STORM_SECONDS");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(wanted != nullptr ? std::atoi(wanted) : 3);
  StormTally tally;
  unsigned rounds = 0;
  do {
    Round(++rounds, std::chrono::milliseconds(800), &tally);
  } while (std::chrono::steady_clock::now() < end && !HasFailure());
  EXPECT_EQ(tally.wrong, 0);
  for (const auto* seen :
       {&tally.answered, &tally.refused, &tally.left, &tally.unread, &tally.half_sent, &tally.cancelled}) {
    EXPECT_GT(seen->load(), 0);
  }
  std::printf(
      "%u servers: %d answered, %d refused, %d left, %d did not read, %d sent half, %d cancelled, %d too late\n",
      rounds, tally.answered.load(), tally.refused.load(), tally.left.load(), tally.unread.load(),
      tally.half_sent.load(), tally.cancelled.load(), tally.expired.load());
}

}  // namespace
}  // namespace hadal
