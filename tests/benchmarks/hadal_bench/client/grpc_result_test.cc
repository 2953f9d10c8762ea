// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/grpc_result.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace hadal::bench {
namespace {

using Trailers = std::multimap<grpc::string_ref, grpc::string_ref>;

GrpcAnswer Answer() {
  GrpcAnswer answer;
  v1::GenerateResponse message;
  message.set_reasoning("ab");
  EXPECT_EQ(answer.Add(message), 2u);
  v1::GenerateResponse last;
  last.set_finish_reason(v1::FINISH_REASON_LENGTH);
  last.mutable_usage()->set_prompt_tokens(5);
  last.mutable_usage()->set_completion_tokens(3);
  EXPECT_EQ(answer.Add(last), 0u);
  return answer;
}

TEST(GrpcResultTest, AWholeAnswerIsServed) {
  const CallResult result = JudgeGrpcCall(grpc::Status::OK, {}, Answer(), "");
  EXPECT_EQ(result.end, CallEnd::kServed);
  EXPECT_EQ(result.finish_reason, "length");
  EXPECT_EQ(result.prompt_tokens, 5);
  EXPECT_EQ(result.completion_tokens, 3);
}

TEST(GrpcResultTest, RefusalsCarryReasonAndPushback) {
  google::rpc::ErrorInfo info;
  info.set_reason("GPU_MEMORY_EXHAUSTED");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const grpc::Status status(grpc::StatusCode::UNAVAILABLE, "busy", details.SerializeAsString());
  const CallResult result = JudgeGrpcCall(
      status, Trailers{{"grpc-retry-pushback-ms", "1500"}, {"x-hadal-promise", "held"}, {"x-hadal-ticket", "t1"}}, {},
      "");
  EXPECT_EQ(result.end, CallEnd::kRefused);
  EXPECT_EQ(result.reason, "GPU_MEMORY_EXHAUSTED");
  EXPECT_EQ(result.advice.pushback_ms, 1500);
  EXPECT_EQ(result.advice.promise, "held");
  EXPECT_EQ(result.advice.ticket, "t1");
}

TEST(GrpcResultTest, FastNonsenseIsAFailure) {
  EXPECT_EQ(JudgeGrpcCall(grpc::Status::OK, {}, {}, "").reason, "cut_off");
  GrpcAnswer empty = Answer();
  empty.content_bytes = 0;
  EXPECT_EQ(JudgeGrpcCall(grpc::Status::OK, {}, empty, "").reason, "empty_answer");
  GrpcAnswer ended = Answer();
  ended.finish = v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE;
  EXPECT_EQ(JudgeGrpcCall(grpc::Status::OK, {}, ended, "").reason, "insufficient_system_resource");
  // Nobody refused: the connection could not be made, or broke.
  const CallResult lost = JudgeGrpcCall(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"), {}, {}, "");
  EXPECT_EQ(lost.end, CallEnd::kFailed);
  EXPECT_EQ(lost.reason, "UNAVAILABLE");
  const CallResult cancelled = JudgeGrpcCall(grpc::Status(grpc::StatusCode::CANCELLED, ""), {}, Answer(), "timeout");
  EXPECT_EQ(cancelled.reason, "timeout");
}

}  // namespace
}  // namespace hadal::bench
