// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/batches/store_error.h"
#include "tests/server/batches/store_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using ::hadal::testing::StoreFixture;
using ::hadal::testing::StoreKind;
using request::Reason;
using ::testing::HasSubstr;

TEST(BatchRequestTest, LimitsAreTakenAndWhatIsBeyondIsNot) {
  for (const int64_t seconds : {3600, 2'592'000}) EXPECT_OK(CheckExpiry(seconds, "x"));
  for (const int64_t seconds : {3599, 2'592'001}) EXPECT_REASON(CheckExpiry(seconds, "x"), Reason::kOutOfRange);
  EXPECT_OK(CheckMetadataCount(kMaxMetadata));
  EXPECT_REASON(CheckMetadataCount(kMaxMetadata + 1), Reason::kInvalidRequest);
  const std::string key(kMaxMetadataKey, 'k'), value(kMaxMetadataValue, 'v');
  EXPECT_OK(CheckMetadataEntry(key, value));
  EXPECT_REASON(CheckMetadataEntry(key + "k", value), Reason::kInvalidRequest);
  EXPECT_REASON(CheckMetadataEntry(key, value + "v"), Reason::kInvalidRequest);
  for (const char* endpoint : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"}) {
    EXPECT_OK(CheckEndpoint(endpoint));
  }
  EXPECT_REASON(CheckEndpoint("/v1/embeddings"), Reason::kUnsupported);
  EXPECT_REASON(CheckEndpoint(""), Reason::kUnsupported);
  EXPECT_OK(CheckPurpose("batch"));
  EXPECT_REASON(CheckPurpose("batch_output"), Reason::kInvalidRequest);
  EXPECT_OK(CheckPageSize(1, 5, "limit"));
  for (const int64_t size : {0, 6}) EXPECT_REASON(CheckPageSize(size, 5, "limit"), Reason::kOutOfRange);
  EXPECT_EQ(KeptName(std::string(256, 'n')).size(), kMaxFileNameBytes);
}

TEST(BatchRequestTest, ABatchIsMadeOfAFileOfItsOwner) {
  StoreFixture fixture(StoreKind::kSqlite);
  const absl::StatusOr<StoredFile> file = fixture.Upload("a", StoreFixture::Line(1));
  ASSERT_OK(file);
  const BatchRequest wanted = {.input_file_id = file->id, .endpoint = "/v1/completions", .metadata_json = "{}"};
  const auto create = [&](std::string_view owner) {
    return fixture.store->Ask<StoredBatch>(
        [&](Tables& tables) { return CreateBatch(tables, owner, wanted, hadal::testing::kNow); });
  };
  const absl::StatusOr<StoredBatch> made = create("a");
  ASSERT_OK(made);
  EXPECT_EQ(made->input_file, file->id);
  EXPECT_EQ(made->endpoint, "/v1/completions");
  EXPECT_REASON(create("b"), Reason::kObjectNotFound);
}

// A store that went away behind the question: the batch may be there, so nobody is told to ask again.
TEST(BatchRequestTest, WhatMayHaveBeenMadeIsNotAskedForAgain) {
  for (const absl::Status& away : {absl::UnavailableError("10.0.0.1 broke"), absl::DeadlineExceededError("late")}) {
    const absl::Status told = MayHaveBeenMade(away, "batch", "batches");
    EXPECT_REASON(told, Reason::kStorageUnavailable);
    EXPECT_FALSE(request::GetErrorDetail(told).retry_after.has_value());
    EXPECT_THAT(told.message(), HasSubstr("whether the batch was made: look for it in the list of batches"));
    EXPECT_TRUE(request::GetErrorDetail(ClientError(away)).retry_after.has_value()) << "where nothing is made";
  }
  const absl::Status full = absl::ResourceExhaustedError("disk full");
  EXPECT_EQ(MayHaveBeenMade(full, "batch", "batches"), full);
}

}  // namespace
}  // namespace hadal::batches
