// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/multipart_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;
using ::testing::HasSubstr;

struct Part {
  std::string name, file_name, data;
  bool operator==(const Part&) const = default;
};

class Parts final : public MultipartReader::Sink {
 public:
  absl::Status BeginPart(std::string_view name, std::string_view file_name) override {
    all.push_back({std::string(name), std::string(file_name), ""});
    return absl::OkStatus();
  }
  absl::Status Data(std::string_view bytes) override {
    all.back().data.append(bytes);
    return absl::OkStatus();
  }
  std::vector<Part> all;
};

// The status of reading `body` in pieces of that size.
absl::Status Read(std::string_view body, size_t piece, Parts* parts, bool* ended) {
  MultipartReader reader = MultipartReader::Create("multipart/form-data; boundary=\"x-Y\"").value();
  for (size_t at = 0; at < body.size(); at += piece) {
    if (absl::Status status = reader.Feed(body.substr(at, piece), parts); !status.ok()) return status;
  }
  *ended = reader.ended();
  return absl::OkStatus();
}

std::string Field(std::string_view name, std::string_view data, std::string_view more = "") {
  return absl::StrCat("--x-Y\r\nContent-Disposition: form-data; name=\"", std::string(name), "\"", std::string(more),
                      "\r\n\r\n", std::string(data), "\r\n");
}

TEST(MultipartReaderTest, ReadsPartsWhateverThePieces) {
  const std::string tricky = "a\r\n--x-\r\n--x\r\n\r\n--x-yz\n--x-Y";
  const std::string body = absl::StrCat(
      "preamble\r\n", Field("purpose", "batch"), Field("empty", ""),
      Field("file", tricky, "; filename=\"a \\\"b%22.jsonl\"\r\nContent-Type: text/plain"), "--x-Y--\r\nrest");
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{31}, body.size()}) {
    Parts parts;
    bool ended = false;
    ASSERT_OK(Read(body, piece, &parts, &ended)) << piece;
    EXPECT_TRUE(ended);
    EXPECT_EQ(parts.all,
              (std::vector<Part>{{"purpose", "", "batch"}, {"empty", "", ""}, {"file", "a \"b\".jsonl", tricky}}))
        << piece;
  }
}

TEST(MultipartReaderTest, ReadsExtendedFileNames) {
  const std::pair<std::string, std::string> cases[] = {
      {"; filename*=UTF-8''na%C3%AFve%20%22a%22.jsonl", "na\u00EFve \"a\".jsonl"},
      {"; filename*=utf-8'fr'%e2%82%ac", "\u20AC"},
      {"; filename*=\"utf-8''%41b\"", "Ab"},
      {"; filename*=iso-8859-1''%A3%20rates", "\u00A3 rates"},
      {"; filename=\"plain\"; filename*=UTF-8''%C3%AF", "\u00EF"},
      {"; filename*=UTF-8''%C3%AF; filename=plain", "\u00EF"},
      // What is no such value counts for nothing.
      {"; filename*=UTF-8''%C3; filename=plain", "plain"},
      {"; filename*=UTF-8''%zz; filename=plain", "plain"},
      {"; filename*=koi8-r''%C3; filename=plain", "plain"},
      {"; filename*=plain", ""},
      {"; filename*=utf-8'plain", ""},
      {"; filename*=", ""},
  };
  for (const auto& [written, name] : cases) {
    Parts parts;
    bool ended = false;
    ASSERT_OK(Read(absl::StrCat(Field("file", "x", written), "--x-Y--"), 100, &parts, &ended)) << written;
    EXPECT_EQ(parts.all, (std::vector<Part>{{"file", name, "x"}})) << written;
  }
}

TEST(MultipartReaderTest, AFormWithoutItsEndIsSeen) {
  Parts parts;
  bool ended = true;
  ASSERT_OK(Read(Field("purpose", "batch"), 5, &parts, &ended));
  EXPECT_FALSE(ended);
}

TEST(MultipartReaderTest, WhatIsNoFormIsRefused) {
  for (const char* type : {"", "application/json", "multipart/form-data", "multipart/form-data; boundary="}) {
    EXPECT_REASON(MultipartReader::Create(type), Reason::kInvalidRequest) << type;
  }
  const std::pair<std::string, std::string> cases[] = {
      {"--x-Y and more\r\n", "something follows a boundary"},
      {"--x-Y\r\nContent-Type: a\r\n\r\nx", "a part has no Content-Disposition"},
      {"--x-Y\r\nContent-Disposition: form-data\r\n\r\nx", "a part has no name"},
      {absl::StrCat("--x-Y\r\n", std::string(9000, 'h')), "the head of a part has more than 8192 bytes"}};
  for (const auto& [body, message] : cases) {
    Parts parts;
    bool ended = false;
    const absl::Status status = Read(body, 100, &parts, &ended);
    EXPECT_REASON(status, Reason::kInvalidRequest) << body;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace hadal::http
