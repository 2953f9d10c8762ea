// SPDX-License-Identifier: Apache-2.0
//
// What a worker says to a peer that sends what it should not.
#include "server/pipeline/worker_session.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/pipeline/key.h"
#include "tests/server/pipeline/worker_fixture.h"

namespace hadal::pipeline {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kTestKey;

class WorkerSessionTest : public testing::WorkerTest {
 protected:
  // What a peer that greets well and then sends this is told.
  absl::StatusOr<Error> AnswerTo(const Worker& worker, MessageType type, const std::vector<std::byte>& payload) {
    auto connection = Connection::Open(absl::StrCat("127.0.0.1:", worker.port()), absl::Now() + absl::Seconds(30));
    if (!connection.ok()) return connection.status();
    std::vector<std::byte> received, message;
    if (auto got = (*connection)->Receive(kMaxControlBytes, &received); !got.ok()) return got.status();
    Hello hello = {.version = "peer's", .nonce = MakeNonce()};
    hello.mac = MakeMac(kTestKey, Side::kLeader, hello.nonce, DecodeChallenge(received)->nonce);
    Encode(hello, &message);
    if (absl::Status sent = (*connection)->Send(MessageType::kHello, message); !sent.ok()) return sent;
    if (auto got = (*connection)->Receive(kMaxControlBytes, &received); !got.ok()) return got.status();
    if (absl::Status sent = (*connection)->Send(type, payload); !sent.ok()) return sent;
    const auto got = (*connection)->Receive(kMaxControlBytes, &received);
    if (!got.ok()) return got.status();
    if (*got != MessageType::kError) return absl::InternalError(MessageName(*got));
    return DecodeError(received);
  }
};

TEST_F(WorkerSessionTest, MessagesOutOfOrderEndTheSession) {
  const auto worker = Start();
  const auto error = AnswerTo(*worker, MessageType::kStep, {});
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(error->status, absl::InvalidArgumentError("message step in place of assignment"));
  EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
}

TEST_F(WorkerSessionTest, AnAssignmentThatDoesNotFitTheModelIsNamed) {
  const auto worker = Start();
  const auto identity = models::IdentifyCheckpoint(Load());
  ASSERT_TRUE(identity.ok()) << identity.status();
  const auto answer = [&](std::vector<PartSpec> parts) {
    Assignment assignment = {.fingerprint = identity->fingerprint,
                             .dtype = "bfloat16",
                             .dummy_weights = true,
                             .max_model_len = 512,
                             .max_batch_tokens = 8,
                             .max_batch_size = 2,
                             .parts = std::move(parts)};
    std::vector<std::byte> payload;
    Encode(assignment, &payload);
    EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
    const auto error = AnswerTo(*worker, MessageType::kAssign, payload);
    EXPECT_TRUE(error.ok()) << error.status();
    return error.ok() ? std::string(error->status.message()) : "";
  };
  EXPECT_THAT(answer({{"a:1", {0, 3}}}), HasSubstr("the first layer is the server's"));
  EXPECT_THAT(answer({{"a:1", {1, 4}}}), HasSubstr("up to the model's 3"));
  EXPECT_THAT(answer({{"a:1", {1, 2}}}), HasSubstr("the layers end with 2, expected the model's 3"));
  EXPECT_THAT(answer({{"a:1", {2, 3}}, {"b:1", {1, 2}}}), HasSubstr("layers [1, 2) of b:1"));
}

TEST_F(WorkerSessionTest, APeerThatSpeaksSomethingElseIsNotServed) {
  const auto worker = Start();
  auto connection = Connection::Open(absl::StrCat("127.0.0.1:", worker->port()), absl::Now() + absl::Seconds(30));
  ASSERT_TRUE(connection.ok()) << connection.status();
  std::vector<std::byte> payload;
  ASSERT_EQ(*(*connection)->Receive(kMaxControlBytes, &payload), MessageType::kChallenge);
  std::vector<std::byte> hello;
  Encode(Hello{.protocol = 99, .version = "9.9"}, &hello);
  ASSERT_TRUE((*connection)->Send(MessageType::kHello, hello).ok());
  ASSERT_EQ(*(*connection)->Receive(kMaxControlBytes, &payload), MessageType::kError);
  const auto error = DecodeError(payload);
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(error->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(error->status.message()), HasSubstr("hadal 9.9 with protocol 99"));
  EXPECT_FALSE(worker->busy());
}

}  // namespace
}  // namespace hadal::pipeline
