// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "hadal/v1/inference.pb.h"
#include "tests/support/status_matchers.h"

namespace hadal::rpc {
namespace {

absl::Status Parse(const std::string& bytes, v1::ChatRequest* message) {
  const grpc::Slice slice(bytes);
  return ParseMessage(grpc::ByteBuffer(&slice, 1), message);
}

TEST(MessageCodecTest, WhatIsWrittenIsRead) {
  v1::ChatRequest request, read;
  request.set_model("模型");
  request.add_messages()->set_content("Grüße");
  ASSERT_OK(ParseMessage(Serialize(request), &read));
  EXPECT_EQ(read.SerializeAsString(), request.SerializeAsString());
}

TEST(MessageCodecTest, SaysThatATextIsNoUtf8) {
  v1::ChatRequest request;
  for (const std::string& bytes : {std::string("\x0a\x01\xff"), std::string("\x12\x03\x12\x01\xe9")}) {
    EXPECT_THAT(std::string(Parse(bytes, &request).message()),
                ::testing::EndsWith("is not a valid hadal.v1.ChatRequest: a text in it is not UTF-8"));
  }
  EXPECT_THAT(std::string(Parse("\xff\xff\xff\xff", &request).message()),
              ::testing::EndsWith("is not a valid hadal.v1.ChatRequest"));
}

}  // namespace
}  // namespace hadal::rpc
