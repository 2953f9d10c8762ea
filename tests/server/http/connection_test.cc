// SPDX-License-Identifier: Apache-2.0
// How bodies arrive: their pace, their memory, and what they hold meanwhile.
#include "server/http/connection.h"

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

std::string HalfBody(int64_t announced, size_t sent) {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(announced) + "\r\n\r\n" +
         std::string(sent, ' ');
}

TEST(ConnectionTest, ABodyThatStandsStillOrDripsIsAnswered408) {
  HttpFixture::Options options;
  options.http.body_stall_timeout = absl::Milliseconds(300);
  options.http.min_body_rate = 100;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient silent(fixture.port());
  silent.Send(HalfBody(1000, 1));
  const HttpReply reply = silent.Read();
  ExpectError(reply, 408, "REQUEST_TIMEOUT");
  EXPECT_NE(reply.body.find("1 bytes in"), std::string::npos) << reply.body;
  EXPECT_TRUE(silent.WaitClosed());

  // A byte every 100 ms is never silent for 300 ms, but ten bytes a second are less than a hundred.
  RawHttpClient drip(fixture.port());
  drip.Send(HalfBody(1000, 1));
  bool answered = false;
  for (int i = 0; i < 50 && !answered; ++i) {
    drip.Send(" ");
    answered = drip.ReadMore(100);
  }
  EXPECT_EQ(drip.Read().status, 408);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

// The limits are of seconds: this sender must keep to them on a machine under load too.
TEST(ConnectionTest, ABodyThatIsSlowAndFastEnoughMayTakeLongerThanAStall) {
  HttpFixture::Options options;
  options.http.body_stall_timeout = absl::Seconds(3);
  options.http.min_body_rate = 20;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient slow(fixture.port());
  const auto begin = std::chrono::steady_clock::now();
  slow.Send(HalfBody(500 + static_cast<int64_t>(kAsk.size()), 50));
  for (int i = 0; i < 18; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    slow.Send(std::string(25, ' '));
  }
  EXPECT_GT(std::chrono::steady_clock::now() - begin, absl::ToChronoSeconds(options.http.body_stall_timeout));
  slow.Send(kAsk);
  EXPECT_EQ(slow.Read().status, 200);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(ConnectionTest, BodiesThatArriveHoldNoQueueSlot) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 4;
  HttpFixture fixture(ServiceFixture::Says("</think>42"), options);
  std::vector<std::unique_ptr<RawHttpClient>> uploads;
  for (int i = 0; i < 16; ++i) {
    uploads.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    uploads.back()->Send(HalfBody(100 + static_cast<int64_t>(kAsk.size()), 99));
  }
  ASSERT_TRUE(fixture.WaitFor([&] { return MetricValue(fixture.base.metrics, "hadal_body_uploads") == 16; }));
  EXPECT_EQ(fixture.base.admission->GetLoad().waiting, 0);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(fixture.Do("POST", kChat, kAsk).status, 200);
  for (auto& upload : uploads) {
    upload->Send(" " + std::string(kAsk));
    EXPECT_EQ(upload->Read().status, 200);
  }
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_body_uploads"), 0);
}

TEST(ConnectionTest, BodiesInFlightStayWithinTheirBudget) {
  HttpFixture::Options options;
  options.http.front.max_body_bytes = 1 << 20;
  options.service.bodies.max_bytes = 4 << 20;
  HttpFixture fixture(ServiceFixture::Says("</think>42"), options);
  // One sender may take half: the third megabyte is refused, announced or chunked.
  std::vector<std::unique_ptr<RawHttpClient>> uploads;
  for (int i = 0; i < 2; ++i) {
    uploads.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    uploads.back()->Send(HalfBody(1 << 20, (1 << 20) - 1));
  }
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.service->bodies().bytes() >= 2 << 20; }));
  RawHttpClient third(fixture.port());
  third.Send(HalfBody(1 << 20, (1 << 20) - 1));
  const HttpReply refused = third.Read();
  ExpectError(refused, 503, "BODY_BUDGET_FULL");
  EXPECT_GE(std::stoi(refused.Header("retry-after-ms")), 1000);
  EXPECT_LE(std::stoi(refused.Header("retry-after-ms")), 2000);
  RawHttpClient chunked(fixture.port());
  chunked.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n80000\r\n" +
               std::string(0x80000, ' ') + "\r\n");
  ExpectError(chunked.Read(), 503, "BODY_BUDGET_FULL");
  EXPECT_LE(fixture.base.service->bodies().bytes(), (2 << 20) + 1024);
  // Ordinary requests pass beside them, of the same sender too.
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk).status, 200);
  uploads.clear();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.base.service->bodies().bytes() == 0; }));
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk).status, 200);
}

TEST(ConnectionTest, ABodyIsFreedWhenItHasBeenParsed) {
  HttpFixture fixture(ServiceFixture::Says("</think>42"));
  fixture.base.engine->Pause(true);
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", kChat, std::string(1 << 20, ' ') + std::string(kAsk)));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));
  EXPECT_EQ(fixture.base.service->bodies().bytes(), 0);
  fixture.base.engine->Pause(false);
  EXPECT_EQ(client.Read().status, 200);
}

}  // namespace
}  // namespace hadal::http
