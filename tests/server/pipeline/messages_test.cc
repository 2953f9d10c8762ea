// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/messages.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;

template <typename Message>
std::vector<std::byte> Encoded(const Message& message) {
  std::vector<std::byte> bytes;
  Encode(message, &bytes);
  return bytes;
}

// Every beginning of the message but the whole of it is refused.
template <typename Decode>
void ExpectRefusesTruncation(const std::vector<std::byte>& bytes, Decode decode) {
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode(absl::MakeConstSpan(bytes).first(length)).ok()) << length;
  }
}

Assignment ThreeParts() {
  return {.fingerprint = "fp_0123456789abcdef",
          .dtype = "bfloat16",
          .batch_invariant = true,
          .dummy_weights = false,
          .max_model_len = 4096,
          .max_batch_tokens = 512,
          .max_batch_size = 8,
          .parts = {{"one:7000", {4, 8}}, {"[::1]:7001", {8, 12}}}};
}

TEST(MessagesTest, GreetingsComeBack) {
  Hello hello = {.version = "0.1.0"};
  hello.nonce.fill(std::byte{3});
  hello.mac.fill(std::byte{5});
  const auto back = DecodeHello(Encoded(hello));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->version, "0.1.0");
  EXPECT_EQ(back->nonce, hello.nonce);
  EXPECT_EQ(back->mac, hello.mac);
  ExpectRefusesTruncation(Encoded(hello), DecodeHello);
  const Challenge challenge = {.version = "0.1.0", .nonce = hello.nonce};
  EXPECT_EQ(DecodeChallenge(Encoded(challenge))->nonce, hello.nonce);
  ExpectRefusesTruncation(Encoded(challenge), DecodeChallenge);
  EXPECT_EQ(DecodeWelcome(Encoded(Welcome{hello.mac}))->mac, hello.mac);
}

TEST(MessagesTest, AnotherVersionIsReadAsFarAsItsName) {
  std::vector<std::byte> bytes = Encoded(Challenge{.protocol = 99, .version = "9.9"});
  bytes.resize(bytes.size() + 100);  // whatever the next version has there
  const auto challenge = DecodeChallenge(bytes);
  ASSERT_TRUE(challenge.ok()) << challenge.status();
  EXPECT_EQ(challenge->protocol, 99u);
  EXPECT_EQ(challenge->version, "9.9");
  EXPECT_EQ(DecodeHello(Encoded(Hello{.protocol = 7, .version = "9.9"}))->protocol, 7u);
}

TEST(MessagesTest, AnAssignmentComesBack) {
  const Assignment assignment = ThreeParts();
  const auto back = DecodeAssignment(Encoded(assignment));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->fingerprint, assignment.fingerprint);
  EXPECT_EQ(back->dtype, "bfloat16");
  EXPECT_TRUE(back->batch_invariant);
  EXPECT_FALSE(back->dummy_weights);
  EXPECT_EQ(back->max_model_len, 4096);
  EXPECT_EQ(back->max_batch_tokens, 512);
  EXPECT_EQ(back->max_batch_size, 8);
  ASSERT_EQ(back->parts.size(), 2u);
  EXPECT_EQ(back->parts[1].address, "[::1]:7001");
  EXPECT_EQ(back->parts[1].layers, (models::LayerRange{8, 12}));
  ExpectRefusesTruncation(Encoded(assignment), DecodeAssignment);
}

TEST(MessagesTest, RefusesAnAssignmentThatCannotBe) {
  Assignment assignment = ThreeParts();
  assignment.parts.clear();
  EXPECT_THAT(std::string(DecodeAssignment(Encoded(assignment)).status().message()), HasSubstr("parts: 0 entries"));
  assignment = ThreeParts();
  assignment.max_batch_tokens = 0;
  EXPECT_THAT(std::string(DecodeAssignment(Encoded(assignment)).status().message()),
              HasSubstr("max_batch_tokens is 0"));
  assignment = ThreeParts();
  assignment.max_batch_size = std::numeric_limits<int32_t>::max();
  EXPECT_THAT(std::string(DecodeAssignment(Encoded(assignment)).status().message()),
              HasSubstr("max_batch_size is 2147483647, expected 1 to 16777216"));
  assignment = ThreeParts();
  assignment.dtype.assign(300, 'x');
  EXPECT_THAT(std::string(DecodeAssignment(Encoded(assignment)).status().message()),
              HasSubstr("dtype: 300 entries, limit 256"));
}

TEST(MessagesTest, CacheSizesComeBack) {
  const models::KvCacheSize size = {.blocks = 7, .block_tokens = 64, .window_blocks = 3};
  EXPECT_EQ(*DecodeCacheSize(Encoded(size)), size);
  ExpectRefusesTruncation(Encoded(size), DecodeCacheSize);
  EXPECT_FALSE(DecodeCacheSize(Encoded(models::KvCacheSize{.blocks = 0, .block_tokens = 64})).ok());
  EXPECT_FALSE(DecodeCacheSize(Encoded(models::KvCacheSize{.blocks = 1, .block_tokens = 0})).ok());
  EXPECT_FALSE(DecodeCacheSize(Encoded(models::KvCacheSize{.blocks = 1, .block_tokens = 1, .window_blocks = -1})).ok());
}

TEST(MessagesTest, ErrorsComeBackWithTheWorkerThatIsLost) {
  const Error error = {absl::UnavailableError("worker b:1: the connection was closed"), "b:1"};
  const auto back = DecodeError(Encoded(error));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->status, error.status);
  EXPECT_EQ(back->lost, "b:1");
  ExpectRefusesTruncation(Encoded(error), DecodeError);
}

TEST(MessagesTest, AnErrorIsNeverOk) {
  std::vector<std::byte> bytes = Encoded(Error{absl::InternalError("x"), ""});
  for (const int code : {0, 17, 255}) {
    bytes[0] = static_cast<std::byte>(code);
    EXPECT_FALSE(DecodeError(bytes).ok()) << code;
  }
}

TEST(MessagesTest, ALongErrorIsCutShort) {
  const auto back = DecodeError(Encoded(Error{absl::InternalError(std::string(100'000, 'x')), ""}));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->status.message().size(), 8192u);
}

}  // namespace
}  // namespace hadal::pipeline
