// SPDX-License-Identifier: Apache-2.0
// Requests whose end two readers could see in different places: one answer, no second request, and a closed connection.
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

constexpr char kHidden[] = "GET /version HTTP/1.1\r\nHost: t\r\n\r\n";
constexpr char kPost[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\n";

struct Case {
  const char* name;
  std::string bytes;
  int status;
};

std::vector<Case> Cases() {
  const std::string post = kPost;
  const std::string get = "GET /v1/models HTTP/1.1\r\n";
  const std::string host = "Host: t\r\n";
  return {
      {"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {"compression coding", post + "Transfer-Encoding: gzip\r\n\r\n", 400},
      {"chunked is not the last", post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400},
      {"compressed and chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
      {"identity", post + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"coding in quotes", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
      {"vertical tab in the coding", post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400},
      {"chunked and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {"length and chunked", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"length and unknown coding", post + "Content-Length: 2\r\nTransfer-Encoding: x\r\n\r\n{}", 400},
      {"chunked in HTTP/1.0",
       "POST /v1/chat/completions HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"two lengths", post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
      {"equal lengths", post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400},
      {"list of lengths", post + "Content-Length: 2, 2\r\n\r\n{}", 400},
      {"signed length", post + "Content-Length: +2\r\n\r\n{}", 400},
      {"negative length", post + "Content-Length: -2\r\n\r\n{}", 400},
      {"hexadecimal length", post + "Content-Length: 0x2\r\n\r\n{}", 400},
      {"overflowing length", post + "Content-Length: 18446744073709551618\r\n\r\n{}", 400},
      {"empty length", post + "Content-Length:\r\n\r\n{}", 400},
      {"chunk size not hexadecimal", post + "Transfer-Encoding: chunked\r\n\r\nxx\r\n{}\r\n0\r\n\r\n", 400},
      {"chunk size with a sign", post + "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", 400},
      {"chunk size with 0x", post + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", 400},
      {"chunk size overflows", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n", 400},
      {"chunk longer than its size", post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n", 400},
      {"chunk ends with LF", post + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400},
      {"chunk extension with LF", post + "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n", 400},
      {"trailer sets the length", post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
       400},
      {"folded field", get + host + "x: a\r\n b\r\n\r\n", 400},
      {"folded length", post + "Content-Length:\r\n 2\r\n\r\n{}", 400},
      {"folded with a tab", get + host + "x: a\r\n\tContent-Length: 5\r\n\r\n", 400},
      {"first field begins with a space", get + " Host: t\r\n\r\n", 400},
      {"bare LF after the request line", "GET /v1/models HTTP/1.1\nHost: t\r\n\r\n", 400},
      {"bare LF after a field", get + "Host: t\nContent-Length: 5\r\n\r\n", 400},
      {"bare CR in a field", get + host + "x: a\rContent-Length: 5\r\n\r\n", 400},
      {"NUL in a field", get + host + std::string("x: a\0b\r\n\r\n", 10), 400},
      {"space before the colon", post + "Content-Length : 2\r\n\r\n{}", 400},
      {"no name", get + host + ": x\r\n\r\n", 400},
      {"no colon", get + host + "Content-Length 2\r\n\r\n", 400},
      {"two spaces in the request line", "GET  /v1/models HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"unknown version", "GET /v1/models HTTP/1.2\r\nHost: t\r\n\r\n", 400},
      {"no Host", get + "\r\n", 400},
      {"two Hosts", get + "Host: t\r\nHost: t\r\n\r\n", 400},
      {"Host with a path", get + "Host: t/x\r\n\r\n", 400},
      {"relative target", "GET v1/models HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"target with a fragment", "GET /v1/models#x HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"asterisk without OPTIONS", "GET * HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"foreign scheme", "GET ftp://t/v1/models HTTP/1.1\r\nHost: t\r\n\r\n", 400},
      {"CONNECT", "CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n", 501},
      {"unknown expectation", post + "Expect: x\r\nContent-Length: 2\r\n\r\n{}", 400},
  };
}

TEST(FramingTest, WhateverLeavesTheFramingInDoubtClosesTheConnection) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    // All at once, and with the hidden request behind what has been answered already.
    RawHttpClient client(fixture.port());
    client.Send(test.bytes + kHidden);
    const HttpReply reply = client.Read();
    EXPECT_EQ(reply.status, test.status) << reply.body;
    EXPECT_EQ(reply.Header("connection"), "close");
    EXPECT_TRUE(client.WaitClosed());
    EXPECT_EQ(client.buffer(), "") << "the hidden request was answered";

    RawHttpClient later(fixture.port());
    later.Send(test.bytes);
    EXPECT_EQ(later.Read().status, test.status);
    later.Send(kHidden);
    EXPECT_TRUE(later.WaitClosed());
    EXPECT_EQ(later.buffer(), "");
  }
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(FramingTest, AllFormsOfATargetReachTheirRoute) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  RawHttpClient client(fixture.port());
  for (const char* target : {"/v1/models", "http://example.com/v1/models", "HTTPS://[::1]:8000/v1/models?x=1"}) {
    client.Send(absl::StrCat("GET ", target, " HTTP/1.1\r\nHost: t\r\n\r\n"));
    EXPECT_EQ(client.Read().status, 200) << target;
  }
  client.Send("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n");
  const HttpReply options = client.ReadHead();
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.Header("content-length"), "");
  EXPECT_NE(options.Header("allow").find("POST"), std::string::npos);
  EXPECT_EQ(client.Do("GET", "/version").status, 200);
}

TEST(FramingTest, ACompressedBodyIsRefusedByName) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  RawHttpClient client(fixture.port());
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize"}) {
    const HttpReply reply = client.Do("POST", path, "\x1f\x8b", "Content-Encoding: gzip\r\n");
    EXPECT_EQ(reply.status, 415);
    EXPECT_EQ(reply.Header("x-hadal-reason"), "UNSUPPORTED_MEDIA_TYPE");
    EXPECT_EQ(reply.Header("accept-encoding"), "identity");
    EXPECT_NE(reply.body.find("gzip"), std::string::npos);
  }
  const HttpReply plain = client.Do("POST", "/tokenize", R"({"prompt":"x"})", "Content-Encoding: identity\r\n");
  EXPECT_EQ(plain.status, 200) << plain.body;
}

}  // namespace
}  // namespace hadal::http
