// SPDX-License-Identifier: Apache-2.0
// The listener through the server: telling protocols apart, connections at their limit, health under load.
#include "server/http/listener.h"

#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::Holds;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

TEST(ListenerTest, ConnectionsAreBoundedAndHealthStillAnswers) {
  HttpFixture::Options options;
  options.http.max_connections = 4;
  HttpFixture fixture(Holds(), options);
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    clients.back()->Send(RawHttpClient::Request("POST", kChat, kAsk));
  }
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.engine->running() == 4; }));
  const HttpReply refused = fixture.Do("GET", "/v1/models");
  ExpectError(refused, 503, "CONNECTION_LIMIT");
  EXPECT_EQ(refused.Header("connection"), "close");
  EXPECT_EQ(fixture.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(fixture.Do("GET", "/metrics").status, 200);
  clients.clear();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Do("GET", "/v1/models").status == 200; }));
}

TEST(ListenerTest, SilentAndIdleConnectionsGiveWay) {
  HttpFixture::Options options;
  options.http.max_connections = 4;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient kept(fixture.port());
  ASSERT_EQ(kept.Do("GET", "/v1/models").status, 200);
  std::vector<std::unique_ptr<RawHttpClient>> silent;
  for (int i = 0; i < 4 + HttpOptions::kReservedConnections + 20; ++i) {
    silent.push_back(std::make_unique<RawHttpClient>(fixture.port()));
  }
  EXPECT_EQ(fixture.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk).status, 200);
  EXPECT_TRUE(silent.front()->WaitClosed());
  EXPECT_LE(fixture.server->open_connections(), 4 + HttpOptions::kReservedConnections);
  EXPECT_GT(MetricValue(fixture.base.metrics, "hadal_connections_evicted_total{phase=\"silent\"}"), 0);
}

// Those that were answered within the last second are not ended for others, which wait instead of being cut off.
TEST(ListenerTest, AClientThatFindsEveryPlaceInUseWaitsForOne) {
  HttpFixture::Options options;
  options.http.max_connections = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 1 + HttpOptions::kReservedConnections; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    clients.back()->Send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (auto& client : clients) ASSERT_EQ(client->Read().status, 200);
  EXPECT_EQ(fixture.Do("GET", "/health/live").status, 200);
  EXPECT_GT(MetricValue(fixture.base.metrics, "hadal_connections_evicted_total{phase=\"idle\"}"), 0);
}

TEST(ListenerTest, AClientThatEndsBeforeItsProtocolIsKnownIsNotWaitedFor) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));  // silent connections have a minute
  for (const char* first : {"P", "PRI * HT", "\x16"}) {
    RawHttpClient client(fixture.port());
    ASSERT_TRUE(client.Send(first));
    ASSERT_EQ(::shutdown(client.fd(), SHUT_WR), 0);
    EXPECT_TRUE(client.WaitClosed()) << first;
  }
}

// By their age: a body, then a head.
TEST(ListenerTest, RequestsThatDoNotArriveGiveWayAndTheirClientsAreTold) {
  HttpFixture::Options options;
  options.http.max_connections = 2;
  options.http.body_stall_timeout = absl::Minutes(5);
  HttpFixture fixture(Holds(), options);
  RawHttpClient body(fixture.port()), head(fixture.port());
  // One that has said nothing yet would give way first: let the server know it.
  ASSERT_EQ(head.Do("GET", "/v1/models").status, 200);
  ASSERT_TRUE(body.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{"));
  ASSERT_TRUE(fixture.WaitFor([&] { return MetricValue(fixture.base.metrics, "hadal_body_uploads") == 1; }));
  ASSERT_TRUE(head.Send("POST /v1/chat/completions HTTP/1.1\r\nHost:"));
  const auto expect_told = [&](RawHttpClient& client) {
    ASSERT_TRUE(fixture.WaitFor([&] { return fixture.Do("GET", "/v1/models").status == 200; }));
    const HttpReply told = client.Read();
    ExpectError(told, 503, "CONNECTION_LIMIT");
    EXPECT_GE(std::stoi(told.Header("retry-after-ms")), 1000);
    EXPECT_LE(std::stoi(told.Header("retry-after-ms")), 2000);
    EXPECT_EQ(told.Header("connection"), "close");
  };
  expect_told(body);
  // Connections that have been answered may still be closing, and until then they count.
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 1; }));
  RawHttpClient busy(fixture.port());  // takes the place that was made, for as long as it is answered
  ASSERT_TRUE(busy.Send(RawHttpClient::Request("POST", kChat, kAsk)));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.engine->running() == 1; }));
  expect_told(head);
}

TEST(ListenerTest, HealthAndMetricsAnswerWhileIoThreadAndWorkersAreBusy) {
  HttpFixture::Options options;
  options.service.worker_threads = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  // The only worker is held, and the I/O thread has calls that wait for it.
  std::atomic<bool> release{false};
  ASSERT_TRUE(fixture.base.service->workers().TryPost([&] {
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    clients.back()->Send(RawHttpClient::Request("POST", kChat, kAsk));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(fixture.Do("GET", i % 2 ? "/health/live" : "/metrics").status, 200) << "the worker is held until the end";
  }
  release.store(true);
  for (auto& client : clients) EXPECT_EQ(client->Read().status, 200);
}

TEST(ListenerTest, Http2ConnectionsAreHandedOnUntouched) {
  std::atomic<int> adopted{-1};
  HttpFixture::Options options;
  options.adopt_http2 = [&](int fd, const base::Peer&) { adopted.store(fd); };
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  RawHttpClient client(fixture.port());
  // The preface may come in pieces.
  client.Send(kPreface.substr(0, 1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  client.Send(kPreface.substr(1, 9));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  client.Send(kPreface.substr(10));
  ASSERT_TRUE(fixture.WaitFor([&] { return adopted.load() >= 0; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  char bytes[64];
  const ssize_t size = ::recv(adopted.load(), bytes, sizeof(bytes), MSG_DONTWAIT);
  ASSERT_GT(size, 0);
  EXPECT_EQ(std::string_view(bytes, static_cast<size_t>(size)), kPreface);
  ::close(adopted.load());
  EXPECT_TRUE(client.WaitClosed());
}

}  // namespace
}  // namespace hadal::http
