// SPDX-License-Identifier: Apache-2.0
// The listener where connections begin with TLS, through the server.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/http/listener.h"
#include "tests/server/http/http_fixture.h"
#include "tests/server/tls/tls_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;
using hadal::testing::TlsClient;
using hadal::testing::TlsFixture;
using ::testing::HasSubstr;
using ::testing::StartsWith;

HttpFixture::Options Under(const TlsFixture& tls) {
  HttpFixture::Options options;
  options.tls = tls.terminator.get();
  return options;
}

// One request over a connection of its own; the whole response.
std::string Ask(int port, std::string_view method, std::string_view path, std::string_view body = {},
                const TlsClient::Options& options = {}) {
  TlsClient client(TlsClient::Connect(port), options);
  if (!client.Handshake()) return client.error();
  client.Send(RawHttpClient::Request(method, path, body, "Connection: close\r\n"));
  return client.ReadAll();
}

TEST(ListenerTlsTest, RoutesAnswerAsWithoutTls) {
  TlsFixture tls;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), Under(tls));
  EXPECT_THAT(Ask(fixture.port(), "GET", "/health/live"), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(Ask(fixture.port(), "POST", kChat, kAsk), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0 && tls.Connections() == 0; }));
}

TEST(ListenerTlsTest, PlainTextIsToldToUseTls) {
  TlsFixture tls;
  HttpFixture fixture(ServiceFixture::Says("x"), Under(tls));
  for (const char* path : {"/health/live", "/v1/models"}) {
    const auto refused = fixture.Do("GET", path);
    ExpectError(refused, 400, "INVALID_REQUEST");
    EXPECT_EQ(refused.Header("connection"), "close");
    EXPECT_THAT(refused.body, HasSubstr("this port speaks TLS"));
  }
  RawHttpClient grpc(fixture.port());
  grpc.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT_TRUE(grpc.WaitFor("HTTP/1.1 400 "));
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_tls_mismatches_total{found=\"plain\"}"), 3);
}

TEST(ListenerTlsTest, TlsToAPlainPortIsCounted) {
  HttpFixture fixture(ServiceFixture::Says("x"), {});
  TlsClient client(TlsClient::Connect(fixture.port()), {});
  EXPECT_FALSE(client.Handshake());
  EXPECT_EQ(client.error(), "wrong version number");  // the answer is an HTTP response
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_tls_mismatches_total{found=\"tls\"}"), 1);
}

TEST(ListenerTlsTest, WithoutACertificateThereIsWhatNeedsNoKey) {
  TlsFixture tls([](TlsFixture* fixture, tls::Terminator::Options* options) {
    options->tls.client_ca_file = fixture->files.Write("ca.pem", fixture->authority.certificate());
  });
  HttpFixture fixture(ServiceFixture::Says("x"), Under(tls));
  EXPECT_THAT(Ask(fixture.port(), "GET", "/health/ready"), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(Ask(fixture.port(), "GET", "/metrics"), StartsWith("HTTP/1.1 200 OK"));
  const std::string refused = Ask(fixture.port(), "POST", kChat, kAsk);
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 401 Unauthorized"));
  EXPECT_THAT(refused, HasSubstr("no client certificate"));
  const TlsClient::Options certified{.certificate = tls.authority.Sign("client")};
  EXPECT_THAT(Ask(fixture.port(), "GET", "/v1/models", {}, certified), StartsWith("HTTP/1.1 200 OK"));
}

TEST(ListenerTlsTest, Http2IsHandedOnWithWhoIsBehindIt) {
  TlsFixture tls([](TlsFixture* fixture, tls::Terminator::Options* options) {
    options->tls.client_ca_file = fixture->files.Write("ca.pem", fixture->authority.certificate());
  });
  std::atomic<int> adopted{-1};
  base::Peer peer;
  HttpFixture::Options options = Under(tls);
  options.adopt_http2 = [&](int fd, base::Peer who) {
    peer = std::move(who);
    adopted.store(fd);
  };
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  TlsClient client(TlsClient::Connect(fixture.port()), {.protocols = {"h2"}});
  ASSERT_TRUE(client.Handshake());
  client.Send(kPreface);
  ASSERT_TRUE(fixture.WaitFor([&] { return adopted.load() >= 0; }));
  EXPECT_EQ(peer.network, "127.0.0.1");
  EXPECT_TRUE(peer.lacks_certificate);
  char bytes[64];
  const ssize_t size = ::recv(adopted.load(), bytes, sizeof(bytes), MSG_DONTWAIT);
  ASSERT_EQ(size, static_cast<ssize_t>(kPreface.size()));
  EXPECT_EQ(std::string_view(bytes, kPreface.size()), kPreface);
  ::close(adopted.load());
  EXPECT_EQ(client.ReadAll(), "");
}

TEST(ListenerTlsTest, HandshakesThatDoNotGoOnGiveWay) {
  TlsFixture tls([](TlsFixture*, tls::Terminator::Options* options) { options->tls.max_handshakes = 32; });
  HttpFixture::Options options = Under(tls);
  options.http.max_connections = 4;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  std::vector<std::unique_ptr<RawHttpClient>> stalled;
  for (int i = 0; i < 4 + HttpOptions::kReservedConnections + 20; ++i) {
    stalled.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    stalled.back()->Send("\x16\x03\x01\x02");
  }
  EXPECT_THAT(Ask(fixture.port(), "GET", "/health/live"), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_LE(fixture.server->open_connections(), 4 + HttpOptions::kReservedConnections);
  stalled.clear();
  EXPECT_TRUE(fixture.WaitFor([&] { return tls.Connections() == 0; }));
}

}  // namespace
}  // namespace hadal::http
