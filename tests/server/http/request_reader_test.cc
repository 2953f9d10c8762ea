// SPDX-License-Identifier: Apache-2.0
#include "server/http/request_reader.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/base/strings.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;
using State = RequestReader::State;

constexpr std::string_view kPost =
    "POST /v1/x HTTP/1.1\r\nHost: h\r\nX-Request-Id: r1\r\nauthorization: Bearer k\r\nX-Hadal-Priority: low\r\n"
    "x-hadal-deadline-ms: 5\r\nx-hadal-queue: no\r\nx-stainless-timeout: 2\r\nX-Stainless-Read-Timeout: 3.5\r\n"
    "x-llm-d-slo-ttft-ms: 800\r\ntraceparent: 00-a\r\ntracestate: b=c\r\nContent-Length: 5\r\n\r\nhello";

RequestReader Reader(RequestReader::Limits limits = {}) { return RequestReader(limits); }

TEST(RequestReaderTest, StopsBehindTheHeadAndBehindTheRequest) {
  RequestReader reader = Reader();
  std::string input(kPost);
  input += "GET /next";
  reader.Feed(input);
  ASSERT_EQ(reader.state(), State::kBody);
  EXPECT_EQ(reader.body_bytes(), 0);
  const RequestHead& head = reader.head();
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/v1/x");
  EXPECT_EQ(head.request_id, "r1");
  EXPECT_EQ(head.authorization, "Bearer k");
  EXPECT_EQ(head.priority, "low");
  EXPECT_EQ(head.deadline_ms, "5");
  EXPECT_EQ(head.queue, "no");
  EXPECT_EQ(head.sdk_timeout, "2");
  EXPECT_EQ(head.read_timeout, "3.5");
  EXPECT_EQ(head.slo_ttft_ms, "800");
  EXPECT_EQ(head.traceparent, "00-a");
  EXPECT_EQ(head.tracestate, "b=c");
  EXPECT_EQ(head.content_length, 5);
  EXPECT_TRUE(head.keep_alive);
  reader.Feed({});
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.TakeBody(), "hello");
  EXPECT_EQ(reader.TakeRest(), "GET /next");
}

TEST(RequestReaderTest, OneEmptyLineMayStandInFront) {
  const std::string request = "\r\n" + std::string(kPost);
  for (size_t cut = 0; cut <= 4; ++cut) {
    RequestReader reader = Reader();
    reader.Feed(request.substr(0, cut));
    EXPECT_EQ(reader.state(), State::kHead);
    reader.Feed(request.substr(cut));
    reader.Feed({});
    ASSERT_EQ(reader.state(), State::kDone) << cut << " " << reader.error();
    EXPECT_EQ(reader.TakeBody(), "hello");
  }
  RequestReader reader = Reader();
  reader.Feed("\r\n" + request);
  EXPECT_EQ(reader.state(), State::kError) << "two lines";
}

TEST(RequestReaderTest, AnyCutGivesTheSameRequest) {
  const std::string chunked =
      "POST /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2;ext=\"1\"\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: "
      "x\r\n\r\n";
  std::mt19937 random(9);
  for (const std::string& bytes : {std::string(kPost), chunked}) {
    for (int round = 0; round < 300; ++round) {
      RequestReader reader = Reader();
      std::string_view rest = bytes;
      while (!rest.empty()) {
        const size_t size = std::min<size_t>(1 + random() % 9, rest.size());
        reader.Feed(rest.substr(0, size));
        rest.remove_prefix(size);
        if (random() % 4 == 0) reader.Feed({});
      }
      reader.Feed({});
      ASSERT_EQ(reader.state(), State::kDone) << reader.error();
      ASSERT_EQ(reader.TakeBody(), "hello");
      ASSERT_EQ(reader.TakeRest(), "");
    }
  }
}

TEST(RequestReaderTest, RequestsWithoutBodyAreDoneAtOnce) {
  RequestReader reader = Reader();
  reader.Feed("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_EQ(reader.state(), State::kDone);
  EXPECT_TRUE(reader.head().http_1_0);
  EXPECT_FALSE(reader.head().keep_alive);
}

TEST(RequestReaderTest, AnAnnouncedBodyTakesWhatHasArrivedAndEndsAtItsLength) {
  constexpr int64_t kLength = (9 << 20) + 12345;
  RequestReader reader = Reader();
  reader.Feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(kLength) + "\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kBody);
  EXPECT_LE(reader.held_bytes(), 64 << 10);
  int64_t sent = 0;
  while (sent < kLength) {
    const int64_t size = std::min<int64_t>(8000, kLength - sent);
    reader.Feed(std::string(static_cast<size_t>(size), 'x'));
    sent += size;
    ASSERT_GE(reader.held_bytes(), sent);
    ASSERT_LE(reader.held_bytes(), std::max<int64_t>(2 * sent, 64 << 10));
  }
  ASSERT_EQ(reader.state(), State::kDone);
  EXPECT_LE(reader.held_bytes(), kLength + 1024);
  reader.DiscardBody();
  EXPECT_LT(reader.held_bytes(), 64);
}

TEST(RequestReaderTest, LimitsHoldWhileBytesArrive) {
  RequestReader::Limits limits;
  limits.header_bytes = 200;
  limits.target_bytes = 50;
  limits.body_bytes = 10;

  RequestReader head = Reader(limits);
  head.Feed("GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(300, 'x'));
  EXPECT_EQ(head.state(), State::kError);
  EXPECT_REASON(head.error(), Reason::kHeadersTooLarge);

  RequestReader target = Reader(limits);
  target.Feed("GET /" + std::string(60, 't') + " HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_REASON(target.error(), Reason::kHeadersTooLarge);
  EXPECT_TRUE(target.target_too_long());

  RequestReader announced = Reader(limits);
  announced.Feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n");
  EXPECT_REASON(announced.error(), Reason::kBodyTooLarge);

  RequestReader huge = Reader(limits);
  huge.Feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n");
  EXPECT_EQ(huge.state(), State::kError);

  RequestReader counted = Reader(limits);
  counted.Feed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n");
  EXPECT_EQ(counted.state(), State::kBody);
  counted.Feed("8\r\n12345678\r\n");
  EXPECT_REASON(counted.error(), Reason::kBodyTooLarge);
}

TEST(RequestReaderTest, ADiscardedBodyIsCountedAndNotKept) {
  RequestReader reader = Reader();
  reader.Feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
  reader.DiscardBody();
  for (int i = 0; i < 100; ++i) reader.Feed(std::string(1000, 'x'));
  EXPECT_EQ(reader.state(), State::kDone);
  EXPECT_EQ(reader.body_bytes(), 100000);
  EXPECT_EQ(reader.TakeBody(), "");
}

TEST(RequestReaderTest, EndlessChunkHeadersEnd) {
  RequestReader reader = Reader();
  reader.Feed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;");
  for (int i = 0; i < 1000 && reader.state() != State::kError; ++i) reader.Feed(std::string(1000, 'e'));
  EXPECT_EQ(reader.state(), State::kError);
}

// Each way to make two readers disagree about where a request ends.
TEST(RequestReaderTest, FramingInDoubtIsAnError) {
  for (const std::string_view fields :
       {"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n", "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n", "x: a\r\n b\r\n", "x: a\r\n\tb\r\nContent-Length: 5\r\n", " x: a\r\n"}) {
    RequestReader reader = Reader();
    reader.Feed(absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\n", base::View(fields), "\r\nhello"));
    EXPECT_EQ(reader.state(), State::kError) << fields;
    EXPECT_REASON(reader.error(), Reason::kInvalidRequest);
    // One byte at a time gives the same.
    RequestReader slow = Reader();
    for (const char byte : absl::StrCat("POST / HTTP/1.1\r\nHost: h\r\n", base::View(fields), "\r\nhello"))
      slow.Feed(std::string_view(&byte, 1));
    EXPECT_EQ(slow.state(), State::kError) << fields;
  }
}

TEST(RequestReaderTest, ABodyMayLookLikeAFoldedField) {
  RequestReader reader = Reader();
  reader.Feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\na\r\n b\r\n\t");
  reader.Feed({});
  ASSERT_EQ(reader.state(), State::kDone) << reader.error();
  EXPECT_EQ(reader.TakeBody(), "a\r\n b\r\n\t");
}

TEST(RequestReaderTest, NeedsExactlyOneValidHost) {
  for (const std::string_view fields : {"", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a, b\r\n",
                                        "Host: http://a\r\n", "Host: u@a\r\n", "Host: a:99999999\r\n"}) {
    RequestReader reader = Reader();
    reader.Feed(absl::StrCat("GET /x HTTP/1.1\r\n", base::View(fields), "\r\n"));
    EXPECT_EQ(reader.state(), State::kError) << fields;
  }
  for (const std::string_view fields : {"Host:\r\n", "Host: a.b:80\r\n", "Host: [::1]:8000\r\n"}) {
    RequestReader reader = Reader();
    reader.Feed(absl::StrCat("GET /x HTTP/1.1\r\n", base::View(fields), "\r\n"));
    EXPECT_EQ(reader.state(), State::kDone) << fields << reader.error();
  }
}

TEST(RequestReaderTest, ReadsWhatBrowsersSay) {
  RequestReader reader = Reader();
  reader.Feed(
      "OPTIONS http://h/v1/x?y HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\nAccess-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: a,b\r\nContent-Encoding: identity\r\nContent-Encoding: GZip\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kDone) << reader.error();
  EXPECT_EQ(reader.head().target, "/v1/x?y");
  EXPECT_EQ(reader.head().origin, "http://o");
  EXPECT_EQ(reader.head().cors_method, "POST");
  EXPECT_EQ(reader.head().cors_headers, "a,b");
  EXPECT_EQ(reader.head().content_encoding, "GZip");
}

TEST(RequestReaderTest, RefusesUnknownExpectations) {
  RequestReader reader = Reader();
  reader.Feed("POST / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n");
  EXPECT_REASON(reader.error(), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace hadal::http
