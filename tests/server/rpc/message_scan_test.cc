// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_scan.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <string>

#include "hadal/v1/inference.pb.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"
#include "tests/support/status_matchers.h"

namespace hadal::rpc {
namespace {

using request::Reason;
using ::testing::HasSubstr;

absl::Status Scan(const google::protobuf::Descriptor* type, const std::string& bytes) {
  // Small blocks, as they come from the network.
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()), 7);
  return ScanMessage(*type, &stream);
}

absl::Status ScanChat(const std::string& bytes) { return Scan(v1::ChatRequest::descriptor(), bytes); }

std::string Times(size_t count, const std::string& bytes) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += bytes;
  return all;
}

void ExpectInvalid(const absl::Status& status, const std::string& text) {
  EXPECT_EQ(request::GetErrorDetail(status).reason, Reason::kInvalidRequest);
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

// The largest request that passes the service's own limits.
v1::ChatRequest Large() {
  v1::ChatRequest request;
  request.set_model("m");
  for (size_t i = 0; i < service::kMaxMessages; ++i) request.add_messages()->set_content("x");
  for (size_t i = 0; i < service::kMaxToolCallsPerMessage; ++i) request.mutable_messages(0)->add_tool_calls();
  for (size_t i = 0; i < service::kMaxTools; ++i) request.add_tools()->set_name("t");
  for (size_t i = 0; i < service::kMaxStopStrings; ++i) request.mutable_stopping()->add_stop("s");
  for (size_t i = 0; i < service::kMaxStopTokenIds; ++i) request.mutable_stopping()->add_stop_token_ids(1);
  for (size_t i = 0; i < service::kMaxLogitBias; ++i) {
    (*request.mutable_sampling()->mutable_logit_bias())[static_cast<int>(i)] = 1;
  }
  request.mutable_response_format()->set_json_schema("{}");
  return request;
}

TEST(MessageScanTest, TheLargestRequestPasses) { EXPECT_OK(ScanChat(Large().SerializeAsString())); }

TEST(MessageScanTest, OneMoreOfAnythingIsNamed) {
  v1::ChatRequest request = Large();
  request.add_messages();
  ExpectInvalid(ScanChat(request.SerializeAsString()), "`messages` has more than 2048 entries");
  request = Large();
  request.mutable_messages(0)->add_tool_calls();
  ExpectInvalid(ScanChat(request.SerializeAsString()), "`tool_calls` has more than 128 entries");
  request = Large();
  request.add_tools();
  ExpectInvalid(ScanChat(request.SerializeAsString()), "`tools` has more than 128 entries");
  request = Large();
  request.mutable_stopping()->add_stop("s");
  ExpectInvalid(ScanChat(request.SerializeAsString()), "`stop` has more than 16 entries");
  request = Large();
  (*request.mutable_sampling()->mutable_logit_bias())[1 << 20] = 1;
  ExpectInvalid(ScanChat(request.SerializeAsString()), "`logit_bias` has more than 1024 entries");
}

TEST(MessageScanTest, MillionsOfEmptyMessagesAreRefused) {
  ExpectInvalid(ScanChat(Times(5000000, std::string("\x12\0", 2))), "`messages`");
  ExpectInvalid(Scan(v1::TokenizeRequest::descriptor(), Times(3000, std::string("\x1a\0", 2))), "`messages`");
}

TEST(MessageScanTest, PiecesDoNotGetAroundTheLimits) {
  v1::ChatRequest piece;
  for (size_t i = 0; i < service::kMaxStopStrings; ++i) piece.mutable_stopping()->add_stop("s");
  EXPECT_OK(ScanChat(Times(8, piece.SerializeAsString())));
  ExpectInvalid(ScanChat(Times(9, piece.SerializeAsString())), "`stopping` has more than 8 pieces");
}

TEST(MessageScanTest, UnknownFieldsAreFew) {
  const std::string unknown("\xf8\x7f\x01", 3);  // field 2047, a number
  EXPECT_OK(ScanChat(Times(kMaxUnknownFields, unknown)));
  ExpectInvalid(ScanChat(Times(kMaxUnknownFields + 1, unknown)), "not known");
  // `model` as a number, which protobuf would keep as an unknown field.
  ExpectInvalid(ScanChat(Times(kMaxUnknownFields + 1, "\x08\x01")), "not known");
  // Inside a message, too.
  const auto inside = [](int count) {
    v1::ChatRequest request;
    v1::ChatMessage* message = request.add_messages();
    for (int i = 0; i < count; ++i) message->GetReflection()->MutableUnknownFields(message)->AddVarint(2047, 1);
    return request.SerializeAsString();
  };
  EXPECT_OK(ScanChat(inside(kMaxUnknownFields)));
  ExpectInvalid(ScanChat(inside(kMaxUnknownFields + 1)), "not known");
}

TEST(MessageScanTest, NumbersPackedOrNotHaveNoLimitOfTheirOwn) {
  v1::DetokenizeRequest request;
  for (int i = 0; i < 100000; ++i) request.add_token_ids(i);
  EXPECT_OK(Scan(v1::DetokenizeRequest::descriptor(), request.SerializeAsString()));
  EXPECT_OK(Scan(v1::DetokenizeRequest::descriptor(), Times(100000, "\x10\x01")));
}

TEST(MessageScanTest, MalformedBytesAreNoMessage) {
  const std::string good = Large().SerializeAsString();
  for (const std::string& bad :
       {std::string("\xff\xff\xff\xff"), std::string("\x12\x05\x0a"), std::string("\x0a\xff\xff\xff\xff\x0f"),
        std::string("\x0b\x0c"), good.substr(0, good.size() - 1)}) {
    ExpectInvalid(ScanChat(bad), "not a valid hadal.v1.ChatRequest");
  }
  EXPECT_OK(ScanChat(""));
}

}  // namespace
}  // namespace hadal::rpc
