// SPDX-License-Identifier: Apache-2.0
#include "server/http/file_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/http/batch_http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::BatchHttpFixture;
using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using nlohmann::json;
using ::testing::HasSubstr;

std::string Part(std::string_view name, std::string_view data, std::string_view file_name = {}) {
  return BatchHttpFixture::Part(name, data, file_name);
}
// Bytes that look like boundaries here and there.
std::string Content(size_t bytes) {
  std::string content;
  while (content.size() < bytes) content += absl::StrCat(content.size(), "\r\n--b\r\n--\r\n-");
  content.resize(bytes);
  std::replace(content.begin(), content.end(), 'b', '\0');
  return content;
}

TEST(FileUploadTest, KeepsAFileInAnyOrderOfTheForm) {
  BatchHttpFixture fixture;
  const std::string content = Content(600'000);
  const std::string file = Part("file", content, "a b.jsonl"), purpose = Part("purpose", "batch");
  for (const std::string& form : {file + purpose, purpose + file, Part("other", "x") + file + purpose}) {
    const HttpReply reply = fixture.PostForm(form);
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json made = HttpFixture::Json(reply);
    EXPECT_EQ(made["bytes"], content.size());
    EXPECT_EQ(made["filename"], "a b.jsonl");
    EXPECT_EQ(made["purpose"], "batch");
    const std::string path = absl::StrCat("/v1/files/", made["id"].get<std::string>(), "/content");
    EXPECT_TRUE(fixture.http.Do("GET", path).body == content);
  }
}

TEST(FileUploadTest, AFileMayBeEmptyAndKeptForAGivenTime) {
  BatchHttpFixture fixture;
  const HttpReply reply = fixture.PostForm(Part("file", "", std::string(300, 'n')) + Part("purpose", "batch") +
                                           Part("expires_after[seconds]", "7200"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json file = HttpFixture::Json(reply);
  EXPECT_EQ(file["bytes"], 0);
  EXPECT_EQ(file["filename"], std::string(255, 'n'));
  EXPECT_EQ(file["expires_at"].get<int64_t>() - file["created_at"].get<int64_t>(), 7200);
}

TEST(FileUploadTest, AChunkedBodyIsAnUploadToo) {
  BatchHttpFixture fixture;
  RawHttpClient client(fixture.http.port());
  client.Send(
      "POST /v1/files HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  const std::string form = Part("purpose", "batch") + Part("file", "one\ntwo\n", "f") + "--b--\r\n";
  for (size_t at = 0; at < form.size(); at += 16) {
    const std::string piece = form.substr(at, 16);
    client.Send(absl::StrCat(absl::Hex(piece.size()), "\r\n", piece, "\r\n"));
  }
  client.Send("0\r\n\r\n");
  const HttpReply reply = client.Read();
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(HttpFixture::Json(reply)["bytes"], 8);
}

TEST(FileUploadTest, WhatIsWrongIsSaidAndLeavesNothing) {
  BatchHttpFixture fixture;
  const std::string file = Part("file", "x", "f"), purpose = Part("purpose", "batch");
  struct Case {
    std::string form;
    int status;
    const char* code;
    const char* says;
  };
  const Case cases[] = {
      {"", 400, "INVALID_REQUEST", "`file` is missing"},
      {purpose, 400, "INVALID_REQUEST", "`file` is missing"},
      {file, 400, "INVALID_REQUEST", "`purpose` is ''"},
      {file + Part("purpose", "fine-tune"), 400, "INVALID_REQUEST", "`purpose` is 'fine-tune'"},
      {purpose + file + file, 400, "INVALID_REQUEST", "`file` is there twice"},
      {purpose + file + Part("note", std::string(1025, 'n')), 400, "INVALID_REQUEST", "more than 1024 bytes"},
      {purpose + file + Part("expires_after[seconds]", "soon"), 400, "INVALID_REQUEST", "is no whole number"},
      {purpose + file + Part("expires_after[seconds]", "3599"), 422, "OUT_OF_RANGE", "must be from 3600 to 2592000"},
  };
  for (const Case& test : cases) {
    const HttpReply reply = fixture.PostForm(test.form);
    ExpectError(reply, test.status, test.code);
    EXPECT_THAT(reply.body, HasSubstr(test.says));
  }
  ExpectError(fixture.http.Do("POST", "/v1/files", "x", "Content-Type: text/plain\r\n"), 400, "INVALID_REQUEST");
  const HttpReply endless =
      fixture.http.Do("POST", "/v1/files", purpose + file, "Content-Type: multipart/form-data; boundary=b\r\n");
  ExpectError(endless, 400, "INVALID_REQUEST");
  EXPECT_THAT(endless.body, HasSubstr("its last boundary is missing"));
  EXPECT_EQ(fixture.CountFiles(), 0);
}

TEST(FileUploadTest, LimitsHoldWhileAFileArrives) {
  BatchHttpFixture fixture({.max_file_bytes = 300'000, .max_key_bytes = 500'000, .max_key_files = 3});
  const auto send = [&](size_t bytes) {
    return fixture.PostForm(Part("purpose", "batch") + Part("file", Content(bytes), "f"));
  };
  const HttpReply large = send(300'001);
  ExpectError(large, 413, "BODY_TOO_LARGE");
  EXPECT_THAT(large.body, HasSubstr("larger than 300000 bytes, the limit of one file"));
  EXPECT_EQ(fixture.CountFiles(), 0);
  EXPECT_EQ(send(300'000).status, 200);
  ExpectError(send(200'001), 413, "BODY_TOO_LARGE");
  EXPECT_EQ(send(200'000).status, 200);
  ExpectError(send(1), 429, "TENANT_QUOTA");
  EXPECT_EQ(fixture.CountFiles(), 2);
}

TEST(FileUploadTest, AFullStoreSaysSoAndTakesUpAgain) {
  BatchHttpFixture fixture({.store_bytes = 1 << 20});
  const HttpReply full = fixture.PostForm(Part("purpose", "batch") + Part("file", Content(4 << 20), "f"));
  ExpectError(full, 507, "STORAGE_FULL");
  EXPECT_EQ(fixture.CountFiles(), 0);
  EXPECT_NE(fixture.Upload(Content(300'000)), "");
}

TEST(FileUploadTest, AClientThatLeavesInTheMiddleLeavesNothing) {
  BatchHttpFixture fixture;
  {
    RawHttpClient client(fixture.http.port());
    client.Send(absl::StrCat(
        "POST /v1/files HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: "
        "9000000\r\n\r\n",
        Part("purpose", "batch"), Part("file", Content(600'000), "f")));
    ASSERT_TRUE(fixture.http.WaitFor([&] { return fixture.CountFiles() == 1; }));
  }
  EXPECT_TRUE(fixture.http.WaitFor([&] { return fixture.CountFiles() == 0; }));
}

// It could not say so to the store either, and the tenant had a file less until the server was started again.
TEST(FileUploadTest, OneThatABusyStoreRefusesLeavesNothing) {
  BatchHttpFixture fixture;
  RawHttpClient client(fixture.http.port());
  client.Send(absl::StrCat(
      "POST /v1/files HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: "
      "9000000\r\n\r\n",
      Part("purpose", "batch"), Part("file", "less than a piece", "f")));
  ASSERT_TRUE(fixture.http.WaitFor([&] { return fixture.CountFiles() == 1; }));
  std::promise<void> release, busy;
  const std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(fixture.batches->TryPost([&busy, released](batches::Tables&) {
    busy.set_value();
    released.wait();
  }));
  busy.get_future().wait();
  while (fixture.batches->TryPost([released](batches::Tables&) { released.wait(); })) continue;
  client.Send(Content(600'000));
  EXPECT_EQ(client.Read().status, 503);
  release.set_value();
  EXPECT_TRUE(fixture.http.WaitFor([&] { return fixture.http.Do("GET", "/v1/files").status == 200; }));
  EXPECT_EQ(fixture.CountFiles(), 0);
}

}  // namespace
}  // namespace hadal::http
