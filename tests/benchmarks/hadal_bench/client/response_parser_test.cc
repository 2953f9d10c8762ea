// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/response_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

class Recorder final : public ResponseSink {
 public:
  void OnHead(const ResponseHead& received) override { head = received; }
  void OnBody(std::string_view bytes) override { body += bytes; }
  ResponseHead head;
  std::string body;
};

TEST(ResponseParserTest, EverySplitOfAChunkedResponseGivesTheSame) {
  const std::string text =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n";
  const std::string_view all = text;
  for (size_t i = 0; i <= all.size(); ++i) {
    for (size_t j = i; j <= all.size(); j += 3) {
      Recorder recorder;
      ResponseParser parser(&recorder);
      for (const std::string_view part : {all.substr(0, i), all.substr(i, j - i), all.substr(j)}) {
        ASSERT_TRUE(parser.Feed(part).ok()) << i << " " << j;
      }
      ASSERT_TRUE(parser.done()) << i << " " << j;
      EXPECT_TRUE(parser.keep_alive());
      EXPECT_EQ(recorder.body, "hello, world");
      EXPECT_EQ(recorder.head.status, 200);
      EXPECT_EQ(recorder.head.Find("content-type"), "text/event-stream");
    }
  }
}

TEST(ResponseParserTest, TellsACompleteBodyFromACutOne) {
  Recorder recorder;
  ResponseParser counted(&recorder);
  EXPECT_TRUE(counted.Feed("HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 10\r\n\r\n12345").ok());
  EXPECT_FALSE(counted.done());
  EXPECT_EQ(recorder.head.Find("retry-after"), "2");
  EXPECT_EQ(counted.FeedEnd().code(), absl::StatusCode::kDataLoss);

  Recorder until_end;
  ResponseParser open(&until_end);
  EXPECT_TRUE(open.Feed("HTTP/1.0 200 OK\r\n\r\nrest").ok());
  EXPECT_TRUE(open.FeedEnd().ok());
  EXPECT_EQ(until_end.body, "rest");
  EXPECT_FALSE(open.keep_alive());
}

TEST(ResponseParserTest, RefusesWhatIsNotHttp) {
  Recorder recorder;
  EXPECT_FALSE(ResponseParser(&recorder).Feed("SSH-2.0-OpenSSH_9.2\r\n").ok());
  ResponseParser empty(&recorder);
  EXPECT_FALSE(empty.FeedEnd().ok());
  EXPECT_FALSE(empty.started());
}

}  // namespace
}  // namespace hadal::bench
