// SPDX-License-Identifier: Apache-2.0
// The calls of hadal.v1.Batches with one response.
#include "server/rpc/store_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/rpc/batch_grpc_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::BatchGrpcFixture;
using ::hadal::testing::GrpcFixture;
using ::hadal::testing::MetricValue;
using ::hadal::testing::ReasonOf;
using ::hadal::testing::ServiceFixture;
using ::testing::HasSubstr;
using Stub = v1::Batches::Stub;

constexpr char kLine[] =
    R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"x"}]}})";

v1::CreateBatchRequest Batch(const std::string& file) {
  v1::CreateBatchRequest request;
  request.set_input_file_id(file);
  request.set_endpoint("/v1/chat/completions");
  return request;
}
template <typename Request>
Request Of(const std::string& id) {
  Request request;
  request.set_id(id);
  return request;
}

TEST(StoreCallTest, WithoutAStoreEveryMethodNamesTheFlag) {
  GrpcFixture fixture(ServiceFixture::Says("x"));
  const std::unique_ptr<Stub> stub = v1::Batches::NewStub(fixture.channel);
  v1::File file;
  v1::Batch batch;
  v1::ListFilesResponse files;
  v1::ListBatchesResponse batches;
  v1::DeleteFileResponse deleted;
  v1::DownloadFileResponse piece;
  const auto context = [] { return BatchGrpcFixture::Context(); };
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  for (int i = 0; i < 9; ++i) contexts.push_back(context());
  const auto reader = stub->DownloadFile(contexts[7].get(), v1::DownloadFileRequest());
  EXPECT_FALSE(reader->Read(&piece));
  const grpc::Status statuses[] = {
      stub->GetFile(contexts[0].get(), {}, &file),         stub->ListFiles(contexts[1].get(), {}, &files),
      stub->DeleteFile(contexts[2].get(), {}, &deleted),   stub->CreateBatch(contexts[3].get(), {}, &batch),
      stub->GetBatch(contexts[4].get(), {}, &batch),       stub->ListBatches(contexts[5].get(), {}, &batches),
      stub->CancelBatch(contexts[6].get(), {}, &batch),    reader->Finish(),
      stub->UploadFile(contexts[8].get(), &file)->Finish()};
  for (const grpc::Status& status : statuses) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(ReasonOf(status), "UNSUPPORTED");
    EXPECT_THAT(status.error_message(), HasSubstr("--batch-store=DIR"));
  }
}

TEST(StoreCallTest, ABatchIsMadeShownListedAndCancelled) {
  BatchGrpcFixture fixture;
  v1::CreateBatchRequest wanted = Batch(fixture.UploadText(kLine));
  (*wanted.mutable_metadata())["job"] = "test";
  v1::Batch made, found, cancelled;
  ASSERT_TRUE(fixture.Call(&Stub::CreateBatch, wanted, &made).ok());
  EXPECT_EQ(made.status(), v1::BATCH_STATUS_VALIDATING);
  EXPECT_EQ(made.endpoint(), wanted.endpoint());
  EXPECT_EQ(made.metadata().at("job"), "test");
  EXPECT_EQ(made.expires_at() - made.created_at(), 24 * 3600);
  ASSERT_TRUE(fixture.Call(&Stub::GetBatch, Of<v1::GetBatchRequest>(made.id()), &found).ok());
  EXPECT_EQ(found.SerializeAsString(), made.SerializeAsString());
  v1::ListBatchesResponse list;
  ASSERT_TRUE(fixture.Call(&Stub::ListBatches, v1::ListBatchesRequest(), &list).ok());
  ASSERT_EQ(list.batches_size(), 1);
  EXPECT_EQ(list.batches(0).id(), made.id());
  ASSERT_TRUE(fixture.Call(&Stub::CancelBatch, Of<v1::CancelBatchRequest>(made.id()), &cancelled).ok());
  EXPECT_EQ(cancelled.status(), v1::BATCH_STATUS_CANCELLING);
  EXPECT_GT(cancelled.cancelling_at(), 0);
  // Its input may not go before it has ended.
  v1::DeleteFileResponse deleted;
  const grpc::Status kept = fixture.Call(&Stub::DeleteFile, Of<v1::DeleteFileRequest>(made.input_file_id()), &deleted);
  EXPECT_EQ(ReasonOf(kept), "INVALID_REQUEST");
  EXPECT_THAT(kept.error_message(), HasSubstr(made.id()));
  EXPECT_EQ(MetricValue(fixture.grpc.base.metrics,
                        "hadal_requests_total{route=\"CreateBatch\",class=\"normal\",http_code=\"\",grpc_code=\"0\","
                        "outcome=\"ok\",reason=\"\"}"),
            1);
}

TEST(StoreCallTest, FilesAreShownAndDeleted) {
  BatchGrpcFixture fixture;
  const std::string id = fixture.UploadText("abc");
  v1::File file;
  ASSERT_TRUE(fixture.Call(&Stub::GetFile, Of<v1::GetFileRequest>(id), &file).ok());
  EXPECT_EQ(file.name(), "in.jsonl");
  EXPECT_EQ(file.purpose(), "batch");
  EXPECT_EQ(file.bytes(), 3);
  EXPECT_GT(file.expires_at(), file.created_at());
  v1::DeleteFileResponse deleted;
  ASSERT_TRUE(fixture.Call(&Stub::DeleteFile, Of<v1::DeleteFileRequest>(id), &deleted).ok());
  const grpc::Status gone = fixture.Call(&Stub::GetFile, Of<v1::GetFileRequest>(id), &file);
  EXPECT_EQ(gone.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(gone), "OBJECT_NOT_FOUND");
}

TEST(StoreCallTest, ListsComeInPages) {
  BatchGrpcFixture fixture;
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(fixture.UploadText(absl::StrCat(i)));
  v1::ListFilesRequest request;
  request.set_page_size(2);
  request.set_oldest_first(true);
  std::vector<std::string> seen;
  bool more = true;
  while (more && seen.size() < 10) {
    v1::ListFilesResponse page;
    ASSERT_TRUE(fixture.Call(&Stub::ListFiles, request, &page).ok());
    for (const v1::File& file : page.files()) seen.push_back(file.id());
    more = page.has_more();
    request.set_after(seen.back());
  }
  EXPECT_EQ(seen, ids);
}

TEST(StoreCallTest, WhatIsWrongIsNamed) {
  batches::BatchOptions options;
  options.max_key_batches = 1;
  BatchGrpcFixture fixture(options);
  v1::Batch batch;
  v1::CreateBatchRequest elsewhere = Batch(fixture.UploadText(kLine));
  ASSERT_TRUE(fixture.Call(&Stub::CreateBatch, elsewhere, &batch).ok());
  EXPECT_EQ(ReasonOf(fixture.Call(&Stub::CreateBatch, elsewhere, &batch)), "TENANT_QUOTA");
  elsewhere.set_endpoint("/v1/embeddings");
  EXPECT_EQ(ReasonOf(fixture.Call(&Stub::CreateBatch, elsewhere, &batch)), "UNSUPPORTED");
  EXPECT_EQ(ReasonOf(fixture.Call(&Stub::CreateBatch, Batch("file-none"), &batch)), "OBJECT_NOT_FOUND");
  v1::CreateBatchRequest large = Batch("file-none");
  large.set_endpoint(std::string(70'000, 'x'));
  const grpc::Status refused = fixture.Call(&Stub::CreateBatch, large, &batch);
  EXPECT_EQ(ReasonOf(refused), "BODY_TOO_LARGE");
  EXPECT_THAT(refused.error_message(), HasSubstr("65536"));
  v1::ListBatchesResponse list;
  v1::ListBatchesRequest many;
  many.set_page_size(101);
  const grpc::Status range = fixture.Call(&Stub::ListBatches, many, &list);
  EXPECT_EQ(ReasonOf(range), "OUT_OF_RANGE");
  EXPECT_THAT(range.error_message(), HasSubstr("`page_size` is 101; it must be from 1 to 100"));
}

TEST(StoreCallTest, TenantsAreApart) {
  GrpcFixture::Options options;
  options.keys = "sk-a one\nsk-b two\n";
  BatchGrpcFixture fixture({}, options);
  const std::string file = fixture.UploadText(kLine, "sk-a");
  v1::Batch batch, other;
  ASSERT_TRUE(fixture.Call(&Stub::CreateBatch, Batch(file), &batch, "sk-a").ok());
  v1::File found;
  v1::DeleteFileResponse deleted;
  std::string content;
  EXPECT_EQ(fixture.Call(&Stub::GetFile, Of<v1::GetFileRequest>(file), &found).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  for (const grpc::Status& status : {
           fixture.Call(&Stub::GetFile, Of<v1::GetFileRequest>(file), &found, "sk-b"),
           fixture.Call(&Stub::DeleteFile, Of<v1::DeleteFileRequest>(file), &deleted, "sk-b"),
           fixture.Call(&Stub::GetBatch, Of<v1::GetBatchRequest>(batch.id()), &other, "sk-b"),
           fixture.Call(&Stub::CancelBatch, Of<v1::CancelBatchRequest>(batch.id()), &other, "sk-b"),
           fixture.Call(&Stub::CreateBatch, Batch(file), &other, "sk-b"),
           fixture.Download(file, &content, "sk-b"),
       }) {
    EXPECT_EQ(ReasonOf(status), "OBJECT_NOT_FOUND") << status.error_message();
  }
  v1::ListFilesResponse files;
  ASSERT_TRUE(fixture.Call(&Stub::ListFiles, v1::ListFilesRequest(), &files, "sk-b").ok());
  EXPECT_EQ(files.files_size(), 0);
}

TEST(StoreCallTest, WhileTheStoresThreadIsBusyOthersAreRefused) {
  BatchGrpcFixture fixture;
  std::promise<void> release, busy;
  const std::shared_future<void> released = release.get_future().share();
  // Its first task has begun before the queue is filled: else that one would leave a place behind.
  ASSERT_TRUE(fixture.batches->TryPost([&busy, released](batches::Tables&) {
    busy.set_value();
    released.wait();
  }));
  busy.get_future().wait();
  while (fixture.batches->TryPost([released](batches::Tables&) { released.wait(); })) continue;
  v1::ListBatchesResponse list;
  const grpc::Status refused = fixture.Call(&Stub::ListBatches, v1::ListBatchesRequest(), &list);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "WORKER_QUEUE_FULL");
  release.set_value();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Call(&Stub::ListBatches, v1::ListBatchesRequest(), &list).ok(); }));
}

}  // namespace
}  // namespace hadal::rpc
