// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of gRPC messages against a running server: never a crash, a hang or a leaked queue slot.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/server/rpc/grpc_fixture.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::GrpcFixture;
using ::hadal::testing::ServiceFixture;

int Iterations() {
  const char* text = std::getenv("HADAL_FUZZ_ITERATIONS");
  return text == nullptr ? 10000 : std::atoi(text);
}

// A call of raw bytes; replies are counted and dropped.
class RawCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  RawCall(grpc::GenericStub* stub, const std::string& method, const std::string& message) {
    grpc::Slice slice(message);
    request_ = grpc::ByteBuffer(&slice, 1);
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stub->PrepareBidiStreamingCall(&context_, method, {}, this);
    StartWriteLast(&request_, {});
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok) StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    status_ = status;
    done_.Notify();
  }
  grpc::Status Wait() {
    done_.WaitForNotification();
    return status_;
  }

 private:
  grpc::ClientContext context_;
  grpc::ByteBuffer request_, response_;
  grpc::Status status_;
  absl::Notification done_;
};

std::vector<std::pair<std::string, std::string>> Corpus() {
  v1::ChatRequest chat = GrpcFixture::Hello();
  chat.set_model("demo");
  chat.set_n(2);
  chat.set_logprobs(2);
  chat.set_priority(v1::PRIORITY_LOW);
  chat.mutable_sampling()->set_temperature(0.7f);
  chat.mutable_sampling()->set_top_p(0.9f);
  (*chat.mutable_sampling()->mutable_logit_bias())[3] = 5;
  chat.mutable_stopping()->add_stop("xyz");
  chat.mutable_stopping()->add_stop_token_ids(7);
  v1::GenerateRequest generate;
  for (int i = 0; i < 20; ++i) generate.mutable_token_ids()->add_ids(i + 3);
  generate.mutable_stopping()->set_max_tokens(8);
  generate.set_echo_logprobs(true);
  generate.set_logprobs(1);
  v1::TokenizeRequest tokenize;
  tokenize.set_text("some text 服务器");
  v1::DetokenizeRequest detokenize;
  for (int i = 0; i < 10; ++i) detokenize.add_token_ids(i * 7);
  const std::string service = "/hadal.v1.Inference/";
  return {{service + "Chat", chat.SerializeAsString()},
          {service + "Generate", generate.SerializeAsString()},
          {service + "Tokenize", tokenize.SerializeAsString()},
          {service + "Detokenize", detokenize.SerializeAsString()}};
}

std::string Mutate(std::string bytes, std::mt19937_64& random) {
  const int edits = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < edits; ++i) {
    const size_t at = bytes.empty() ? 0 : random() % bytes.size();
    switch (random() % 6) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random());
        break;
      case 1:
        if (!bytes.empty()) bytes[at] ^= static_cast<char>(1 << (random() % 8));
        break;
      case 2:
        bytes.insert(at, 1 + random() % 4, static_cast<char>(random()));
        break;
      case 3:
        if (!bytes.empty()) bytes.erase(at, 1 + random() % 8);
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5:
        if (!bytes.empty()) bytes += bytes.substr(at);
        break;
    }
    if (bytes.size() > 4096) bytes.resize(4096);
  }
  return bytes;
}

TEST(GrpcMutationTest, NoMessageCrashesHangsOrLeaks) {
  GrpcFixture fixture(ServiceFixture::Says("fine"));
  grpc::GenericStub stub(fixture.channel);
  const auto corpus = Corpus();
  std::mt19937_64 random(20261121);
  std::map<grpc::StatusCode, int> codes;
  const int iterations = Iterations();
  for (int i = 0; i < iterations; ++i) {
    const auto& [method, message] = corpus[random() % corpus.size()];
    RawCall call(&stub, method, Mutate(message, random));
    const grpc::Status status = call.Wait();
    ++codes[status.error_code()];
    ASSERT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << "iteration " << i << " hung in " << method;
    ASSERT_NE(status.error_code(), grpc::StatusCode::UNKNOWN) << "iteration " << i << ": " << status.error_message();
    ASSERT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE)
        << "iteration " << i << ": " << status.error_message();
  }
  EXPECT_GT(codes[grpc::StatusCode::OK], iterations / 20) << "the mutations must reach the engine too";
  EXPECT_GT(codes[grpc::StatusCode::INVALID_ARGUMENT], iterations / 20);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

}  // namespace
}  // namespace hadal::rpc
