// SPDX-License-Identifier: Apache-2.0
// Many streams at once on both fronts, each with a reader that is always ready. The engine makes a token only when the
// reader has all but a few of those before it, so that a stream whose writer is not woken stops for ever.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "hadal/v1/inference.grpc.pb.h"
#include "tests/server/http/http_fixture.h"
#include "tests/server/rpc/grpc_fixture.h"

namespace hadal {
namespace {

using testing::DemoEncode;
using testing::GrpcFixture;
using testing::HttpFixture;
using testing::RawHttpClient;
using testing::Script;
using testing::ScriptedEngine;
using testing::ServiceFixture;

constexpr int kStreams = 32;

// What every stream says, and how many tokens the engine may be ahead of each stream's reader.
class Streams {
 public:
  Streams(std::vector<int32_t> tokens, int lead) : tokens_(std::move(tokens)), lead_(lead) {
    for (int i = 0; i < kStreams; ++i) allowed_.push_back(std::make_shared<std::atomic<int>>(lead));
  }
  // A request's seed is its stream's number.
  ScriptedEngine::MakeScript script() const {
    return [this](const request::Request& request) {
      Script script;
      script.tokens = tokens_;
      script.finish = request::FinishReason::kLength;
      script.allowed = allowed_.at(request.sampling.seed);
      return script;
    };
  }
  // The reader of a stream has received so many tokens in all.
  void Received(int stream, int tokens) { allowed_[stream]->store(tokens + lead_); }
  int tokens() const { return static_cast<int>(tokens_.size()); }

  // Calls read(stream), which returns how many tokens the stream gave, on one thread each; all must give all.
  template <class Read>
  void ExpectAllFrom(const Read& read) {
    std::vector<int> received(kStreams);
    std::vector<std::thread> readers;
    for (int i = 0; i < kStreams; ++i) readers.emplace_back([&, i] { received[i] = read(i); });
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(received, std::vector<int>(kStreams, tokens()));
  }

 private:
  const std::vector<int32_t> tokens_;
  const int lead_;
  std::vector<std::shared_ptr<std::atomic<int>>> allowed_;
};

void ReadOverGrpc(Streams& streams) {
  GrpcFixture fixture(streams.script());
  streams.ExpectAllFrom([&](int stream) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::GenerateRequest request;
    request.mutable_token_ids()->add_ids(5);
    request.mutable_sampling()->set_seed(stream);
    request.mutable_stopping()->set_max_tokens(streams.tokens());
    request.set_return_token_ids(true);
    auto reader = fixture.stub->Generate(&context, request);
    v1::GenerateResponse response;
    int received = 0;
    while (reader->Read(&response)) {
      received += response.token_ids_size();
      streams.Received(stream, received);
    }
    EXPECT_TRUE(reader->Finish().ok());
    return received;
  });
}

// Ids in the "token_ids" arrays that are complete from `*at` on, which moves behind them.
int CountTokenIds(std::string_view text, size_t* at) {
  constexpr std::string_view kBegin = "\"token_ids\":[";
  int count = 0;
  while (true) {
    const size_t begin = text.find(kBegin, *at);
    const size_t end = text.find(']', begin);
    if (begin == text.npos || end == text.npos) return count;
    const std::string_view ids = text.substr(begin + kBegin.size(), end - begin - kBegin.size());
    if (!ids.empty()) count += 1 + static_cast<int>(std::count(ids.begin(), ids.end(), ','));
    *at = end;
  }
}

void ReadOverHttp(Streams& streams) {
  HttpFixture fixture(streams.script());
  streams.ExpectAllFrom([&](int stream) {
    RawHttpClient client(fixture.port());
    client.Send(RawHttpClient::Request("POST", "/v1/completions",
                                       R"({"prompt":[5],"stream":true,"return_token_ids":true,"seed":)" +
                                           std::to_string(stream) +
                                           ",\"max_tokens\":" + std::to_string(streams.tokens()) + "}"));
    int received = 0;
    size_t at = 0;
    while (client.buffer().find("[DONE]") == std::string::npos && client.ReadMore(20000)) {
      received += CountTokenIds(client.buffer(), &at);
      streams.Received(stream, received);
    }
    return received;
  });
}

// Every token before the next one is made.
TEST(FrontsStreamTest, AReadyGrpcReaderGetsEachTokenAtOnce) {
  Streams streams(DemoEncode("1 + 1 = 2, and 17 plus 25 is 42."), /*lead=*/1);
  ReadOverGrpc(streams);
}

TEST(FrontsStreamTest, AReadyHttpReaderGetsEachTokenAtOnce) {
  Streams streams(DemoEncode("1 + 1 = 2, and 17 plus 25 is 42."), /*lead=*/1);
  ReadOverHttp(streams);
}

// Half a character, many tokens without text, the other half.
std::vector<int32_t> InterruptedCharacter() {
  std::vector<int32_t> tokens = DemoEncode("\U0001F600");
  tokens.insert(tokens.begin() + 1, 30, DemoEncode("<｜end▁of▁sentence｜>").front());
  return tokens;
}

TEST(FrontsStreamTest, AReadyGrpcReaderWaitsAFewStepsForTextAtMost) {
  Streams streams(InterruptedCharacter(), /*lead=*/6);
  ReadOverGrpc(streams);
}

TEST(FrontsStreamTest, AReadyHttpReaderWaitsAFewStepsForTextAtMost) {
  Streams streams(InterruptedCharacter(), /*lead=*/6);
  ReadOverHttp(streams);
}

}  // namespace
}  // namespace hadal
