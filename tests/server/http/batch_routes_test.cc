// SPDX-License-Identifier: Apache-2.0
#include "server/http/batch_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/http/batch_http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::BatchHttpFixture;
using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kFiles[] = "/v1/files";
constexpr char kBatches[] = "/v1/batches";
constexpr char kLine[] =
    R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"x"}]}})";

std::string Batch(const std::string& file, const std::string& more = "") {
  return absl::StrCat(R"({"input_file_id":")", file, R"(","endpoint":"/v1/chat/completions","completion_window":"24h")",
                      more, "}");
}
std::string IdOf(const HttpReply& reply) {
  EXPECT_EQ(reply.status, 200) << reply.body;
  return HttpFixture::Json(reply).value("id", "");
}

TEST(BatchRoutesTest, WithoutAStoreEveryRouteNamesTheFlag) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const std::pair<const char*, const char*> routes[] = {
      {"GET", "/v1/files"},      {"POST", "/v1/files"},          {"GET", "/v1/files/f"},
      {"DELETE", "/v1/files/f"}, {"GET", "/v1/files/f/content"}, {"GET", "/v1/batches"},
      {"POST", "/v1/batches"},   {"GET", "/v1/batches/b"},       {"POST", "/v1/batches/b/cancel"},
  };
  for (const auto& [method, path] : routes) {
    const HttpReply reply = fixture.Do(method, path);
    ExpectError(reply, 501, "UNSUPPORTED");
    EXPECT_THAT(reply.body, HasSubstr("--batch-store=DIR")) << path;
  }
}

TEST(BatchRoutesTest, AFileIsShownReadAndDeleted) {
  BatchHttpFixture fixture;
  std::string content;
  for (int i = 0; i < 700'000; ++i) content.push_back(static_cast<char>(i * 7));  // more than two pieces
  const std::string path = absl::StrCat(kFiles, "/", fixture.Upload(content));
  const json file = HttpFixture::Json(fixture.http.Do("GET", path));
  EXPECT_EQ(file["object"], "file");
  EXPECT_EQ(file["bytes"], content.size());
  EXPECT_EQ(file["filename"], "in.jsonl");
  const HttpReply read = fixture.http.Do("GET", path + "/content");
  EXPECT_EQ(read.Header("content-type"), "application/octet-stream");
  EXPECT_TRUE(read.body == content);
  RawHttpClient head(fixture.http.port());
  head.Send(RawHttpClient::Request("HEAD", path + "/content"));
  EXPECT_EQ(head.ReadHead().status, 200);
  EXPECT_EQ(head.Do("GET", path).status, 200) << "nothing was sent behind the head";
  EXPECT_EQ(HttpFixture::Json(fixture.http.Do("DELETE", path)),
            (json{{"id", file["id"]}, {"object", "file"}, {"deleted", true}}));
  for (const char* end : {"", "/content"}) ExpectError(fixture.http.Do("GET", path + end), 404, "OBJECT_NOT_FOUND");
  ExpectError(fixture.http.Do("DELETE", path), 404, "OBJECT_NOT_FOUND");
}

TEST(BatchRoutesTest, ADownloadThatBrokeOffGoesOnWithARange) {
  BatchHttpFixture fixture;
  std::string content;
  for (int i = 0; i < 700'000; ++i) content.push_back(static_cast<char>(i * 7));
  const std::string id = fixture.Upload(content), path = absl::StrCat(kFiles, "/", id, "/content");
  const auto get = [&](const std::string& headers) { return fixture.http.Do("GET", path, "", headers); };
  const HttpReply whole = get("");
  EXPECT_EQ(whole.Header("accept-ranges"), "bytes");
  EXPECT_EQ(whole.Header("etag"), absl::StrCat("\"", id, "\""));
  EXPECT_EQ(whole.Header("content-range"), "");
  const HttpReply rest = get("Range: bytes=300000-\r\n");
  EXPECT_EQ(rest.status, 206);
  EXPECT_EQ(rest.Header("content-range"), "bytes 300000-699999/700000");
  EXPECT_TRUE(rest.body == content.substr(300'000));
  const HttpReply part = get(absl::StrCat("Range: bytes=5-262150\r\nIf-Range: \"", id, "\"\r\n"));
  EXPECT_EQ(part.status, 206);
  EXPECT_TRUE(part.body == content.substr(5, 262'146));
  for (const char* passed_over : {"Range: bytes=5-\r\nIf-Range: \"file-other\"\r\n", "Range: bytes=1-2,5-6\r\n"}) {
    const HttpReply all = get(passed_over);
    EXPECT_EQ(all.status, 200);
    EXPECT_TRUE(all.body == content);
  }
  const HttpReply behind = get("Range: bytes=700000-\r\n");
  ExpectError(behind, 416, "OUT_OF_RANGE");
  EXPECT_EQ(behind.Header("content-range"), "bytes */700000");
  EXPECT_THAT(behind.body, HasSubstr("700000 bytes"));
}

TEST(BatchRoutesTest, ListsComeInPages) {
  BatchHttpFixture fixture;
  EXPECT_EQ(HttpFixture::Json(fixture.http.Do("GET", kFiles)),
            json::parse(R"({"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false})"));
  std::vector<std::string> files, made;
  for (int i = 0; i < 3; ++i) {
    files.push_back(fixture.Upload(kLine));
    made.push_back(IdOf(fixture.http.Do("POST", kBatches, Batch(files.back()))));
  }
  const auto list = [&](const std::string& target) {
    std::vector<std::string> ids;
    const json page = HttpFixture::Json(fixture.http.Do("GET", target));
    for (const json& item : page["data"]) ids.push_back(item["id"]);
    EXPECT_EQ(page["first_id"], ids.front());
    EXPECT_EQ(page["last_id"], ids.back());
    return std::make_pair(ids, page["has_more"].get<bool>());
  };
  using Page = std::pair<std::vector<std::string>, bool>;
  for (const auto& [path, ids] :
       {std::make_pair(std::string(kFiles), files), std::make_pair(std::string(kBatches), made)}) {
    EXPECT_EQ(list(path), (Page{{ids[2], ids[1], ids[0]}, false}));
    EXPECT_EQ(list(path + "?limit=2"), (Page{{ids[2], ids[1]}, true}));
    EXPECT_EQ(list(path + "?limit=2&after=" + ids[1]), (Page{{ids[0]}, false}));
    ExpectError(fixture.http.Do("GET", path + "?after=none"), 404, "OBJECT_NOT_FOUND");
    ExpectError(fixture.http.Do("GET", path + "?limit=0"), 422, "OUT_OF_RANGE");
  }
  EXPECT_EQ(list(absl::StrCat(kFiles, "?order=asc&limit=1")), (Page{{files[0]}, true}));
  ExpectError(fixture.http.Do("GET", absl::StrCat(kBatches, "?limit=101")), 422, "OUT_OF_RANGE");
}

TEST(BatchRoutesTest, ABatchIsMadeShownAndCancelled) {
  BatchHttpFixture fixture;
  const std::string file = fixture.Upload(kLine);
  const HttpReply made = fixture.http.Do("POST", kBatches, Batch(file, R"(,"metadata":{"job":"1"})"));
  const std::string path = absl::StrCat(kBatches, "/", IdOf(made));
  const json batch = HttpFixture::Json(made);
  EXPECT_EQ(batch["status"], "validating");
  EXPECT_EQ(batch["metadata"], (json{{"job", "1"}}));
  EXPECT_EQ(batch["expires_at"].get<int64_t>() - batch["created_at"].get<int64_t>(), 24 * 3600);
  EXPECT_EQ(HttpFixture::Json(fixture.http.Do("GET", path)), batch);
  ExpectError(fixture.http.Do("DELETE", absl::StrCat(kFiles, "/", file)), 400, "INVALID_REQUEST");
  const json cancelling = HttpFixture::Json(fixture.http.Do("POST", path + "/cancel"));
  EXPECT_EQ(cancelling["status"], "cancelling");
  EXPECT_TRUE(cancelling["cancelling_at"].is_number());
  EXPECT_EQ(HttpFixture::Json(fixture.http.Do("POST", path + "/cancel"))["status"], "cancelling");
  for (const char* end : {"", "/cancel"}) {
    const std::string none = absl::StrCat(kBatches, "/batch_none", end);
    ExpectError(fixture.http.Do(*end == 0 ? "GET" : "POST", none), 404, "OBJECT_NOT_FOUND");
  }
}

TEST(BatchRoutesTest, ABatchThatCannotBeMadeIsRefused) {
  BatchHttpFixture fixture({.max_key_batches = 1});
  const std::string file = fixture.Upload(kLine);
  ExpectError(fixture.http.Do("POST", kBatches, Batch("file-none")), 404, "OBJECT_NOT_FOUND");
  ExpectError(fixture.http.Do("POST", kBatches, "{}"), 400, "INVALID_REQUEST");
  ExpectError(fixture.http.Do("POST", kBatches, Batch(file, R"(,"metadata":{"k":1})")), 422, "OUT_OF_RANGE");
  const std::string large = Batch(file, absl::StrCat(R"(,"x":")", std::string(64 << 10, 'x'), "\""));
  ExpectError(fixture.http.Do("POST", kBatches, large), 413, "BODY_TOO_LARGE");
  EXPECT_EQ(fixture.http.Do("POST", kBatches, Batch(file)).status, 200);
  ExpectError(fixture.http.Do("POST", kBatches, Batch(file)), 429, "TENANT_QUOTA");
}

TEST(BatchRoutesTest, TenantsAreApart) {
  HttpFixture::Options options;
  options.keys = "sk-a one\nsk-b two\n";
  BatchHttpFixture fixture({}, options);
  constexpr char kOne[] = "Authorization: Bearer sk-a\r\n", kTwo[] = "Authorization: Bearer sk-b\r\n";
  const std::string file = fixture.Upload(kLine, kOne);
  const std::string batch = IdOf(fixture.http.Do("POST", kBatches, Batch(file), kOne));
  EXPECT_EQ(fixture.http.Do("GET", absl::StrCat(kFiles, "/", file)).status, 401);
  const std::pair<const char*, std::string> calls[] = {
      {"GET", absl::StrCat(kFiles, "/", file)},
      {"GET", absl::StrCat(kFiles, "/", file, "/content")},
      {"DELETE", absl::StrCat(kFiles, "/", file)},
      {"GET", absl::StrCat(kBatches, "/", batch)},
      {"POST", absl::StrCat(kBatches, "/", batch, "/cancel")},
  };
  for (const auto& [method, path] : calls) {
    ExpectError(fixture.http.Do(method, path, {}, kTwo), 404, "OBJECT_NOT_FOUND");
  }
  ExpectError(fixture.http.Do("POST", kBatches, Batch(file), kTwo), 404, "OBJECT_NOT_FOUND");
  for (const char* path : {kFiles, kBatches}) {
    EXPECT_TRUE(HttpFixture::Json(fixture.http.Do("GET", path, {}, kTwo))["data"].empty()) << path;
    EXPECT_EQ(HttpFixture::Json(fixture.http.Do("GET", path, {}, kOne))["data"].size(), 1u) << path;
  }
}

TEST(BatchRoutesTest, WhileTheStoresThreadIsBusyOthersAreRefused) {
  BatchHttpFixture fixture;
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  // Its first task has begun before the queue is filled: else that one would leave a place behind.
  std::promise<void> busy;
  ASSERT_TRUE(fixture.batches->TryPost([&busy, released](batches::Tables&) {
    busy.set_value();
    released.wait();
  }));
  busy.get_future().wait();
  while (fixture.batches->TryPost([released](batches::Tables&) { released.wait(); })) continue;
  ExpectError(fixture.http.Do("GET", kBatches), 503, "WORKER_QUEUE_FULL");
  EXPECT_EQ(fixture.http.Do("GET", "/v1/models").status, 200);
  release.set_value();
  EXPECT_TRUE(fixture.http.WaitFor([&] { return fixture.http.Do("GET", kBatches).status == 200; }));
}

TEST(BatchRoutesTest, LinesRunOnceABatchIsMade) {
  BatchHttpFixture fixture;
  fixture.RunLines();
  const std::string made = IdOf(fixture.http.Do("POST", kBatches, Batch(fixture.Upload(kLine))));
  json batch;
  ASSERT_TRUE(fixture.http.WaitFor([&] {
    batch = HttpFixture::Json(fixture.http.Do("GET", absl::StrCat(kBatches, "/", made)));
    return batch["status"] == "completed";
  })) << batch;
  const std::string output = batch["output_file_id"];
  const HttpReply results = fixture.http.Do("GET", absl::StrCat(kFiles, "/", output, "/content"));
  EXPECT_EQ(json::parse(results.body)["response"]["body"]["choices"][0]["message"]["content"], "42") << results.body;
}

}  // namespace
}  // namespace hadal::http
