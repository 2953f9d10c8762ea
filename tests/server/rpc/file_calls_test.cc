// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/file_calls.h"

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
using ::testing::HasSubstr;

v1::UploadFileRequest Next(std::string data, bool last = false) {
  v1::UploadFileRequest next;
  next.set_data(std::move(data));
  next.set_last(last);
  return next;
}
std::string Bytes(size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes.push_back(static_cast<char>(i * 7));
  return bytes;
}

// Messages of sizes that are no pieces of the store's, with the end in the last one or behind it.
TEST(UploadCallTest, TheBytesAreThoseThatWereSent) {
  BatchGrpcFixture fixture;
  const std::string content = Bytes(1'000'000);
  for (const size_t size : {size_t{100'000}, size_t{262'144}, size_t{999'999}, content.size()}) {
    for (const bool end_alone : {false, true}) {
      std::vector<v1::UploadFileRequest> messages = {BatchGrpcFixture::First()};
      for (size_t at = 0; at < content.size(); at += size) messages.push_back(Next(content.substr(at, size)));
      if (end_alone) messages.push_back(Next(""));
      messages.back().set_last(true);
      v1::File file;
      const grpc::Status status = fixture.Upload(messages, &file);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(file.bytes(), content.size());
      std::string read;
      ASSERT_TRUE(fixture.Download(file.id(), &read).ok());
      EXPECT_TRUE(read == content) << size;
    }
  }
}

TEST(UploadCallTest, AnEmptyFileIsAFile) {
  BatchGrpcFixture fixture;
  const std::string id = fixture.UploadText("");
  std::string content;
  EXPECT_TRUE(fixture.Download(id, &content).ok());
  EXPECT_EQ(content, "");
}

TEST(UploadCallTest, WithoutItsEndItLeavesNothing) {
  BatchGrpcFixture fixture;
  v1::File file;
  const grpc::Status status = fixture.Upload({BatchGrpcFixture::First(), Next(Bytes(300'000))}, &file);
  EXPECT_EQ(ReasonOf(status), "INVALID_REQUEST");
  EXPECT_THAT(status.error_message(), HasSubstr("no message said `last`"));
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 0; }));
}

TEST(UploadCallTest, WhatIsWrongIsNamedAndLeavesNothing) {
  batches::BatchOptions options;
  options.max_file_bytes = 1000;
  BatchGrpcFixture fixture(options);
  v1::UploadFileRequest images = BatchGrpcFixture::First(), soon = BatchGrpcFixture::First();
  images.mutable_file()->set_purpose("vision");
  soon.mutable_file()->set_expires_after_seconds(5);
  const struct {
    std::vector<v1::UploadFileRequest> messages;
    const char* reason;
    const char* text;
  } cases[] = {
      {{Next("x", true)}, "INVALID_REQUEST", "`file` is missing in the first message"},
      {{BatchGrpcFixture::First(), BatchGrpcFixture::First("", true)}, "INVALID_REQUEST", "`file` is there twice"},
      {{images}, "INVALID_REQUEST", "`purpose` is 'vision'"},
      {{soon}, "OUT_OF_RANGE", "`file.expires_after_seconds` is 5; it must be from 3600 to 2592000"},
      {{BatchGrpcFixture::First(Bytes(1001), true)}, "BODY_TOO_LARGE", "1000 bytes, the limit of one file"},
  };
  for (const auto& [messages, reason, text] : cases) {
    v1::File file;
    const grpc::Status status = fixture.Upload(messages, &file);
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  }
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 0; }));
}

TEST(UploadCallTest, ANameIsCut) {
  BatchGrpcFixture fixture;
  v1::UploadFileRequest request = BatchGrpcFixture::First("x", true);
  request.mutable_file()->set_name(std::string(300, 'n'));
  v1::File file;
  ASSERT_TRUE(fixture.Upload({request}, &file).ok());
  EXPECT_EQ(file.name(), std::string(255, 'n'));
}

TEST(UploadCallTest, OneThatIsCancelledLeavesNothing) {
  BatchGrpcFixture fixture;
  const auto context = BatchGrpcFixture::Context();
  v1::File file;
  auto writer = fixture.stub->UploadFile(context.get(), &file);
  ASSERT_TRUE(writer->Write(BatchGrpcFixture::First()));
  ASSERT_TRUE(writer->Write(Next(Bytes(300'000))));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 1; }));
  EXPECT_EQ(MetricValue(fixture.grpc.base.metrics, "hadal_body_uploads"), 1);
  context->TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 0; }));
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.grpc.server->calls_in_progress() == 0; }));
  EXPECT_TRUE(fixture.WaitFor([&] { return MetricValue(fixture.grpc.base.metrics, "hadal_body_uploads") == 0; }));
}

// It could not say so to the store either, and the tenant had a file less until the server was started again.
TEST(UploadCallTest, OneThatABusyStoreRefusesLeavesNothing) {
  BatchGrpcFixture fixture;
  const auto context = BatchGrpcFixture::Context();
  v1::File file;
  auto writer = fixture.stub->UploadFile(context.get(), &file);
  ASSERT_TRUE(writer->Write(BatchGrpcFixture::First("x")));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 1; }));
  std::promise<void> release, busy;
  const std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(fixture.batches->TryPost([&busy, released](batches::Tables&) {
    busy.set_value();
    released.wait();
  }));
  busy.get_future().wait();
  while (fixture.batches->TryPost([released](batches::Tables&) { released.wait(); })) continue;
  writer->Write(Next(Bytes(300'000)));
  EXPECT_EQ(ReasonOf(writer->Finish()), "WORKER_QUEUE_FULL");
  release.set_value();
  v1::ListFilesResponse list;
  EXPECT_TRUE(
      fixture.WaitFor([&] { return fixture.Call(&v1::Batches::Stub::ListFiles, v1::ListFilesRequest(), &list).ok(); }));
  EXPECT_EQ(fixture.CountFiles(), 0);
}

TEST(UploadCallTest, OneWhoseMessagesDoNotComeIsEnded) {
  GrpcFixture::Options options;
  options.server.message_timeout = absl::Milliseconds(100);
  BatchGrpcFixture fixture({}, options);
  const auto context = BatchGrpcFixture::Context();
  v1::File file;
  auto writer = fixture.stub->UploadFile(context.get(), &file);
  ASSERT_TRUE(writer->Write(BatchGrpcFixture::First("x")));
  EXPECT_EQ(ReasonOf(writer->Finish()), "REQUEST_TIMEOUT");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 0; }));
}

TEST(UploadCallTest, AnEndOfTheServerEndsIt) {
  BatchGrpcFixture fixture;
  const auto context = BatchGrpcFixture::Context();
  v1::File file;
  auto writer = fixture.stub->UploadFile(context.get(), &file);
  ASSERT_TRUE(writer->Write(BatchGrpcFixture::First("x")));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 1; }));
  fixture.grpc.server->Shutdown(absl::Seconds(5));
  EXPECT_EQ(ReasonOf(writer->Finish()), "DRAINING");
  EXPECT_EQ(fixture.CountFiles(), 0);
}

TEST(DownloadCallTest, GoesOnWhereOneBrokeOff) {
  BatchGrpcFixture fixture;
  std::string content;
  for (int i = 0; i < 600'000; ++i) content.push_back(static_cast<char>(i * 7));
  const std::string id = fixture.UploadText(content);
  for (const int64_t offset : {0, 1, 262'144, 599'999, 600'000}) {
    std::string rest;
    const grpc::Status status = fixture.Download(id, &rest, "", offset);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(rest == content.substr(static_cast<size_t>(offset))) << offset;
    for (size_t i = 0; i < fixture.file_bytes.size(); ++i) EXPECT_EQ(fixture.file_bytes[i], i == 0 ? 600'000 : 0);
  }
  for (const int64_t offset : {int64_t{-1}, int64_t{600'001}}) {
    std::string none;
    const grpc::Status status = fixture.Download(id, &none, "", offset);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(status.error_message(),
              absl::StrCat("`offset` is ", offset, "; it must be from 0 to the file's 600000 bytes"));
  }
}

TEST(DownloadCallTest, AClientThatDoesNotReadHoldsOnePiece) {
  BatchGrpcFixture fixture;
  const std::string content = Bytes(8 << 20);
  std::vector<v1::UploadFileRequest> messages = {BatchGrpcFixture::First()};
  for (size_t at = 0; at < content.size(); at += 1 << 20) messages.push_back(Next(content.substr(at, 1 << 20)));
  messages.back().set_last(true);
  v1::File file;
  ASSERT_TRUE(fixture.Upload(messages, &file).ok());
  const auto context = BatchGrpcFixture::Context();
  v1::DownloadFileRequest request;
  request.set_id(file.id());
  auto reader = fixture.stub->DownloadFile(context.get(), request);
  v1::DownloadFileResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  EXPECT_LE(piece.data().size(), size_t{256} << 10);
  std::string read = piece.data();
  // Others are served meanwhile.
  std::string other;
  EXPECT_TRUE(fixture.Download(fixture.UploadText("abc"), &other).ok());
  EXPECT_EQ(other, "abc");
  while (reader->Read(&piece)) read += piece.data();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(read == content);
}

TEST(DownloadCallTest, WhoeverIsGoneIsForgotten) {
  BatchGrpcFixture fixture;
  const std::string id = fixture.UploadText(Bytes(3 << 20));
  const auto context = BatchGrpcFixture::Context();
  v1::DownloadFileRequest request;
  request.set_id(id);
  auto reader = fixture.stub->DownloadFile(context.get(), request);
  v1::DownloadFileResponse piece;
  ASSERT_TRUE(reader->Read(&piece));
  context->TryCancel();
  while (reader->Read(&piece)) continue;
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.grpc.server->calls_in_progress() == 0; }));
}

}  // namespace
}  // namespace hadal::rpc
