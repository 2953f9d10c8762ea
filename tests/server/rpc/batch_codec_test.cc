// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/batch_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace hadal::rpc {
namespace {

using request::Reason;
using ::testing::HasSubstr;

v1::CreateBatchRequest Wanted() {
  v1::CreateBatchRequest request;
  request.set_input_file_id("file-1");
  request.set_endpoint("/v1/completions");
  return request;
}

TEST(BatchCodecTest, ReadsABatch) {
  v1::CreateBatchRequest request = Wanted();
  EXPECT_EQ(DecodeBatch(request)->metadata_json, "null");
  EXPECT_EQ(DecodeBatch(request)->result_seconds, 0);
  (*request.mutable_metadata())["a"] = "\"1\"";
  request.set_output_expires_after_seconds(7200);
  const absl::StatusOr<batches::BatchRequest> read = DecodeBatch(request);
  ASSERT_OK(read);
  EXPECT_EQ(read->input_file_id, "file-1");
  EXPECT_EQ(read->endpoint, "/v1/completions");
  EXPECT_EQ(read->metadata_json, R"({"a":"\"1\""})");
  EXPECT_EQ(read->result_seconds, 7200);
}

TEST(BatchCodecTest, WhatIsWrongWithABatchIsNamed) {
  v1::CreateBatchRequest no_file = Wanted(), many = Wanted(), large = Wanted(), late = Wanted(), zero = Wanted();
  no_file.clear_input_file_id();
  EXPECT_REASON(DecodeBatch(no_file), Reason::kInvalidRequest);
  for (int i = 0; i < 17; ++i) (*many.mutable_metadata())[absl::StrCat(i)] = "x";
  EXPECT_REASON(DecodeBatch(many), Reason::kInvalidRequest);
  EXPECT_THAT(DecodeBatch(many).status().message(), HasSubstr("has 17 entries; it may have 16"));
  (*large.mutable_metadata())["a"] = std::string(513, 'x');
  EXPECT_EQ(request::GetErrorDetail(DecodeBatch(large).status()).param, "metadata.a");
  late.set_output_expires_after_seconds(2'592'001);
  EXPECT_REASON(DecodeBatch(late), Reason::kOutOfRange);
  zero.set_output_expires_after_seconds(0);
  EXPECT_REASON(DecodeBatch(zero), Reason::kOutOfRange) << "0 that is said is not left out";
}

TEST(BatchCodecTest, ReadsPages) {
  v1::ListFilesRequest files;
  EXPECT_EQ(DecodeList(files)->limit, 1000);
  EXPECT_TRUE(DecodeList(files)->newest_first);
  files.set_page_size(10'000);
  files.set_oldest_first(true);
  files.set_purpose("batch_output");
  files.set_after("file-1");
  EXPECT_EQ(DecodeList(files)->limit, 10'000);
  EXPECT_FALSE(DecodeList(files)->newest_first);
  EXPECT_EQ(DecodeList(files)->purpose, "batch_output");
  EXPECT_EQ(DecodeList(files)->after, "file-1");
  for (const int size : {-1, 10'001}) {
    files.set_page_size(size);
    EXPECT_REASON(DecodeList(files), Reason::kOutOfRange) << size;
  }
  v1::ListBatchesRequest batches;
  EXPECT_EQ(DecodeList(batches)->limit, 20);
  batches.set_page_size(101);
  EXPECT_REASON(DecodeList(batches), Reason::kOutOfRange);
}

TEST(BatchCodecTest, WritesABatch) {
  batches::StoredBatch batch = {.id = "batch_1",
                                .owner = "secret",
                                .endpoint = "/v1/completions",
                                .input_file = "file-1",
                                .metadata_json = R"({"a":"1"})",
                                .status = batches::BatchStatus::kFailed,
                                .total = 3,
                                .completed = 1,
                                .failed = 2,
                                .output_file = "file-2",
                                .error_file = "file-3",
                                .created = 10,
                                .expires = 20};
  for (int i = 0; i < batches::kBatchStatuses; ++i) batch.reached[i] = 100 + i;
  batch.errors = {{"bad", "line 2: no", 2}};
  v1::Batch out;
  EncodeBatch(batch, &out);
  EXPECT_EQ(out.status(), v1::BATCH_STATUS_FAILED);
  EXPECT_EQ(out.ShortDebugString().find("secret"), std::string::npos);
  EXPECT_EQ(out.total() + out.completed() * 10 + out.failed() * 100, 213);
  EXPECT_EQ(out.output_file_id() + out.error_file_id() + out.input_file_id(), "file-2file-3file-1");
  EXPECT_EQ(out.metadata().at("a"), "1");
  ASSERT_EQ(out.errors_size(), 1);
  EXPECT_EQ(out.errors(0).line(), 2);
  EXPECT_EQ(out.in_progress_at(), 101);
  EXPECT_EQ(out.finalizing_at(), 102);
  EXPECT_EQ(out.completed_at(), 103);
  EXPECT_EQ(out.failed_at(), 104);
  EXPECT_EQ(out.expired_at(), 105);
  EXPECT_EQ(out.cancelling_at(), 106);
  EXPECT_EQ(out.cancelled_at(), 107);
  const std::pair<batches::BatchStatus, v1::BatchStatus> names[] = {
      {batches::BatchStatus::kInProgress, v1::BATCH_STATUS_IN_PROGRESS},
      {batches::BatchStatus::kFinalizing, v1::BATCH_STATUS_FINALIZING},
      {batches::BatchStatus::kCompleted, v1::BATCH_STATUS_COMPLETED},
      {batches::BatchStatus::kExpired, v1::BATCH_STATUS_EXPIRED},
      {batches::BatchStatus::kCancelling, v1::BATCH_STATUS_CANCELLING},
  };
  for (const auto& [status, name] : names) {
    batch.status = status;
    out.Clear();
    EncodeBatch(batch, &out);
    EXPECT_EQ(out.status(), name);
  }
}

}  // namespace
}  // namespace hadal::rpc
