// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/batch_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using batches::BatchStatus;
using batches::ListQuery;
using nlohmann::json;
using request::Reason;
using ::testing::HasSubstr;

constexpr int kMaxDepth = 16;

// A body that is right, with one field changed or added; null takes one out.
std::string Body(const std::string& name = "", const json& value = nullptr) {
  json body = {{"input_file_id", "file-1"}, {"endpoint", "/v1/chat/completions"}, {"completion_window", "24h"}};
  if (!name.empty()) body[name] = value;
  return body.dump();
}

std::string ParamOf(const absl::Status& status) { return request::GetErrorDetail(status).param; }

TEST(BatchCodecTest, ReadsABatch) {
  const absl::StatusOr<batches::BatchRequest> plain = DecodeBatchBody(Body(), kMaxDepth);
  ASSERT_OK(plain);
  EXPECT_EQ(plain->input_file_id, "file-1");
  EXPECT_EQ(plain->endpoint, "/v1/chat/completions");
  EXPECT_EQ(plain->metadata_json, "null");
  EXPECT_EQ(plain->result_seconds, 0);
  const absl::StatusOr<batches::BatchRequest> full = DecodeBatchBody(
      R"({"input_file_id":"f","endpoint":"/v1/messages","metadata":{"a":"1","b":"\"x"},"new_field":[1],
          "output_expires_after":{"anchor":"created_at","seconds":3600}})",
      kMaxDepth);
  ASSERT_OK(full);
  EXPECT_EQ(json::parse(full->metadata_json), (json{{"a", "1"}, {"b", "\"x"}}));
  EXPECT_EQ(full->result_seconds, 3600);
  for (const char* endpoint : {"/v1/completions", "/v1/responses"}) {
    EXPECT_OK(DecodeBatchBody(Body("endpoint", endpoint), kMaxDepth)) << endpoint;
  }
}

TEST(BatchCodecTest, WhatIsWrongWithABatchIsNamed) {
  const auto expiry = [](const json& seconds) { return json{{"anchor", "created_at"}, {"seconds", seconds}}; };
  json many;
  for (int i = 0; i < 17; ++i) many[absl::StrCat("k", i)] = "v";
  struct Case {
    std::string name;
    json value;
    Reason reason;
    std::string param;
    std::string says;
  };
  const Case cases[] = {
      {"input_file_id", nullptr, Reason::kInvalidRequest, "input_file_id", "missing"},
      {"input_file_id", 7, Reason::kOutOfRange, "input_file_id", "string"},
      {"endpoint", nullptr, Reason::kUnsupported, "endpoint", "/v1/chat/completions, /v1/completions"},
      {"endpoint", "/v1/embeddings", Reason::kUnsupported, "endpoint", "must be one of"},
      {"completion_window", "1h", Reason::kUnsupported, "completion_window", "must be 24h"},
      {"metadata", "text", Reason::kOutOfRange, "metadata", "object"},
      {"metadata", many, Reason::kInvalidRequest, "metadata", "has 17 entries; it may have 16"},
      {"metadata", {{"k", 1}}, Reason::kOutOfRange, "metadata.k", "string"},
      {"metadata", {{"k", std::string(513, 'v')}}, Reason::kInvalidRequest, "metadata.k", "512 as its value"},
      {"metadata",
       {{std::string(65, 'k'), "v"}},
       Reason::kInvalidRequest,
       "metadata." + std::string(64, 'k'),
       "more than 64 bytes as its name"},
      {"output_expires_after", "soon", Reason::kOutOfRange, "output_expires_after", "object"},
      {"output_expires_after", {{"seconds", 3600}}, Reason::kInvalidRequest, "output_expires_after.anchor", "anchor"},
      {"output_expires_after",
       {{"anchor", "now"}, {"seconds", 3600}},
       Reason::kInvalidRequest,
       "output_expires_after.anchor",
       "must be created_at"},
      {"output_expires_after",
       {{"anchor", "created_at"}},
       Reason::kInvalidRequest,
       "output_expires_after.seconds",
       "missing"},
      {"output_expires_after", expiry("an hour"), Reason::kOutOfRange, "output_expires_after.seconds", "integer"},
      {"output_expires_after", expiry(3599), Reason::kOutOfRange, "output_expires_after.seconds",
       "is 3599; it must be from 3600 to 2592000"},
      {"output_expires_after", expiry(2'592'001), Reason::kOutOfRange, "output_expires_after.seconds", "2592001"},
  };
  for (const Case& test : cases) {
    const std::string body = Body(test.name, test.value);
    const absl::Status status = DecodeBatchBody(body, kMaxDepth).status();
    EXPECT_REASON(status, test.reason) << body << status;
    EXPECT_EQ(ParamOf(status), test.param) << body;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.says)) << body;
  }
  EXPECT_REASON(DecodeBatchBody("[]", kMaxDepth), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeBatchBody("{\"a\":", kMaxDepth), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeBatchBody(Body("x", json::parse("[[[[[]]]]]")), /*max_depth=*/4), Reason::kInvalidRequest);
}

TEST(BatchCodecTest, AtTheLimitsAMetadataIsTaken) {
  json metadata;
  for (int i = 0; i < 16; ++i) metadata[std::string(64, static_cast<char>('a' + i))] = std::string(512, 'v');
  const absl::StatusOr<batches::BatchRequest> body = DecodeBatchBody(Body("metadata", metadata), kMaxDepth);
  ASSERT_OK(body);
  EXPECT_EQ(json::parse(body->metadata_json), metadata);
}

TEST(BatchCodecTest, ReadsTheQueryOfAList) {
  const auto read = [](std::string_view target) { return ReadListQuery(target, 20, 100); };
  for (const char* target : {"/v1/files", "/v1/files?", "/v1/files?other=1"}) {
    ASSERT_OK(read(target)) << target;
    EXPECT_EQ(read(target)->limit, 20) << target;
    EXPECT_EQ(read(target)->after, "") << target;
    EXPECT_TRUE(read(target)->newest_first) << target;
  }
  const absl::StatusOr<ListQuery> all = read("/v1/files?limit=100&after=file-9&order=asc&purpose=batch_output");
  ASSERT_OK(all);
  EXPECT_EQ(all->limit, 100);
  EXPECT_EQ(all->after, "file-9");
  EXPECT_FALSE(all->newest_first);
  EXPECT_EQ(all->purpose, "batch_output");
  for (const char* bad : {"limit=0", "limit=101", "limit=-1", "limit=", "limit=x", "order=up", "order="}) {
    const absl::Status status = read(absl::StrCat("/v1/files?", bad)).status();
    EXPECT_REASON(status, Reason::kOutOfRange) << bad;
    EXPECT_EQ(ParamOf(status), std::string(bad).substr(0, 5)) << bad;
  }
}

TEST(BatchCodecTest, WritesAFile) {
  std::string text;
  JsonWriter json_writer(&text);
  AppendFile({.id = "file-1", .name = "a \"b\".jsonl", .purpose = "batch", .bytes = 7, .created = 11}, &json_writer);
  EXPECT_EQ(json::parse(text), json::parse(R"({"id":"file-1","object":"file","bytes":7,"created_at":11,
      "expires_at":null,"filename":"a \"b\".jsonl","purpose":"batch","status":"processed","status_details":null})"));
}

TEST(BatchCodecTest, WritesABatch) {
  batches::StoredBatch batch = {.id = "batch_1",
                                .endpoint = "/v1/responses",
                                .input_file = "file-1",
                                .metadata_json = R"({"k":"v"})",
                                .status = BatchStatus::kCompleted,
                                .total = 3,
                                .completed = 2,
                                .failed = 1,
                                .output_file = "file-2",
                                .created = 10,
                                .expires = 86'410};
  batch.reached[static_cast<size_t>(BatchStatus::kInProgress)] = 11;
  batch.reached[static_cast<size_t>(BatchStatus::kCompleted)] = 12;
  std::string text;
  JsonWriter whole(&text);
  AppendBatch(batch, &whole);
  EXPECT_EQ(json::parse(text), json::parse(R"({"id":"batch_1","object":"batch","endpoint":"/v1/responses","errors":null,
      "input_file_id":"file-1","completion_window":"24h","status":"completed","output_file_id":"file-2",
      "error_file_id":null,"created_at":10,"in_progress_at":11,"expires_at":86410,"finalizing_at":null,
      "completed_at":12,"failed_at":null,"expired_at":null,"cancelling_at":null,"cancelled_at":null,
      "request_counts":{"total":3,"completed":2,"failed":1},"metadata":{"k":"v"}})"));

  batch.status = BatchStatus::kFailed;
  batch.errors = {{"invalid_line", "line 2: no JSON", 2}, {"empty_file", "the input has no line", 0}};
  text.clear();
  JsonWriter failed(&text);
  AppendBatch(batch, &failed);
  EXPECT_EQ(json::parse(text)["status"], "failed");
  EXPECT_EQ(json::parse(text)["errors"], json::parse(R"({"object":"list","data":[
      {"code":"invalid_line","message":"line 2: no JSON","line":2,"param":null},
      {"code":"empty_file","message":"the input has no line","line":null,"param":null}]})"));
}

}  // namespace
}  // namespace hadal::http
