// SPDX-License-Identifier: Apache-2.0
#include "server/tls/terminator.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/tls/tls_fixture.h"

namespace hadal::tls {
namespace {

using ::hadal::testing::PlainEnd;
using ::hadal::testing::TestAuthority;
using ::hadal::testing::TlsClient;
using ::hadal::testing::TlsFixture;
using ::testing::HasSubstr;

TEST(TerminatorTest, CarriesBytesBothWaysUnderBothVersions) {
  TlsFixture fixture;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto [fd, server] = fixture.Open();
    TlsClient client(fd, {.authority = fixture.authority.certificate(), .max_version = version});
    ASSERT_TRUE(client.Handshake()) << client.error();
    EXPECT_EQ(client.version(), version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    ASSERT_TRUE(client.Send("question"));
    EXPECT_EQ(server.ReadExactly(8), "question");
    EXPECT_EQ(server.Write("answer"), 6u);
    EXPECT_EQ(client.Read(), "answer");
    EXPECT_FALSE(server.lacks_certificate());
  }
  EXPECT_EQ(fixture.Handshakes("1.2"), 1);
  EXPECT_EQ(fixture.Handshakes("1.3"), 1);
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
}

TEST(TerminatorTest, Http2IsForClientsThatOfferNothingElse) {
  TlsFixture fixture;
  const auto agreed = [&](std::vector<std::string> offered, bool http2_first = false) {
    auto [fd, server] = fixture.Open(http2_first);
    TlsClient client(fd, {.protocols = std::move(offered)});
    EXPECT_TRUE(client.Handshake()) << client.error();
    return client.protocol();
  };
  EXPECT_EQ(agreed({"h2", "http/1.1"}), "http/1.1");  // curl and browsers
  EXPECT_EQ(agreed({"h2"}), "h2");
  EXPECT_EQ(agreed({"grpc-exp", "h2"}), "h2");
  EXPECT_EQ(agreed({}), "");
  EXPECT_EQ(agreed({"h2", "http/1.1"}, /*http2_first=*/true), "h2");
  auto [fd, server] = fixture.Open();
  TlsClient stranger(fd, {.protocols = {"spdy/3"}});
  EXPECT_FALSE(stranger.Handshake());
  EXPECT_EQ(stranger.error(), "tlsv1 alert no application protocol");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("alpn") == 1; }));
}

TEST(TerminatorTest, OldVersionsAreRefused) {
  TlsFixture fixture;
  {
    auto [fd, server] = fixture.Open();
    TlsClient client(fd, {.max_version = TLS1_1_VERSION});
    EXPECT_FALSE(client.Handshake());
    EXPECT_EQ(client.error(), "tlsv1 alert protocol version");
    EXPECT_EQ(server.Read(), "");  // the end
  }
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("version") == 1; }));

  TlsFixture strict([](TlsFixture*, Terminator::Options* options) { options->tls.min_version = Version::kTls13; });
  auto [fd, server] = strict.Open();
  TlsClient client(fd, {.max_version = TLS1_2_VERSION});
  EXPECT_FALSE(client.Handshake());
  EXPECT_TRUE(strict.WaitFor([&] { return strict.Failures("version") == 1; }));
}

TEST(TerminatorTest, AClientThatDoesNotTrustTheCertificateIsCounted) {
  TlsFixture fixture;
  auto [fd, server] = fixture.Open();
  TlsClient client(fd, {.authority = TestAuthority("another").certificate()});
  EXPECT_FALSE(client.Handshake());
  EXPECT_EQ(server.Read(), "");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("server_certificate") == 1; }));
}

TEST(TerminatorTest, ASilentHandshakeEndsInTime) {
  TlsFixture fixture(
      [](TlsFixture*, Terminator::Options* options) { options->tls.handshake_timeout = absl::Milliseconds(50); });
  auto [silent, server] = fixture.Open();
  EXPECT_EQ(server.Read(), "");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("timeout") == 1; }));
  // Half a record is no progress either.
  auto [half, other] = fixture.Open();
  ASSERT_EQ(::send(half, "\x16\x03\x01\x02\x00", 5, MSG_NOSIGNAL), 5);
  EXPECT_EQ(other.Read(), "");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("timeout") == 2; }));
  ::close(silent);
  ::close(half);
}

TEST(TerminatorTest, AServerThatGivesUpEndsTheHandshake) {
  TlsFixture fixture;
  auto [fd, server] = fixture.Open();
  server.Close();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
  EXPECT_EQ(fixture.Failures("closed"), 1);
  char byte;
  EXPECT_EQ(::recv(fd, &byte, 1, 0), 0);
  ::close(fd);
}

TEST(TerminatorTest, HandshakesWaitForTheirTurnAndStalledOnesGiveWay) {
  TlsFixture fixture([](TlsFixture*, Terminator::Options* options) {
    options->tls.max_handshakes = 2;
    options->tls.handshake_timeout = absl::Minutes(5);
  });
  std::vector<int> sockets;
  std::vector<PlainEnd> ends;
  for (int i = 0; i < 3; ++i) {
    auto [fd, server] = fixture.Open();
    sockets.push_back(fd);
    ends.push_back(std::move(server));
  }
  auto [fd, server] = fixture.Open();
  TlsClient client(fd, {});
  ASSERT_TRUE(client.Handshake()) << client.error();  // after two of the stalled ones have given way
  ASSERT_TRUE(client.Send("x"));
  EXPECT_EQ(server.ReadExactly(1), "x");
  EXPECT_GE(fixture.Failures("evicted"), 1);
  EXPECT_LE(fixture.Failures("evicted"), 2);
  EXPECT_EQ(ends.front().Read(), "");
  for (const int socket : sockets) ::close(socket);
}

TEST(TerminatorTest, ConnectionsAreBounded) {
  TlsFixture fixture([](TlsFixture*, Terminator::Options* options) { options->max_connections = 2; });
  auto [a, first] = fixture.Open();
  auto [b, second] = fixture.Open();
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const auto refused = fixture.terminator->Terminate(pair[1], false, "test");
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status()));
  EXPECT_EQ(::send(pair[0], "x", 1, MSG_NOSIGNAL), 1);  // still the caller's
  for (const int fd : {a, b, pair[0], pair[1]}) ::close(fd);
}

TEST(TerminatorTest, ClientCertificatesAreChecked) {
  TlsFixture fixture([](TlsFixture* fixture, Terminator::Options* options) {
    options->tls.client_ca_file = fixture->files.Write("ca.pem", fixture->authority.certificate());
  });
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    {
      auto [fd, server] = fixture.Open();
      TlsClient client(fd, {.certificate = fixture.authority.Sign("friend"), .max_version = version});
      ASSERT_TRUE(client.Handshake()) << client.error();
      ASSERT_TRUE(client.Send("x"));
      EXPECT_EQ(server.ReadExactly(1), "x");
      EXPECT_FALSE(server.lacks_certificate());
    }
    {
      auto [fd, server] = fixture.Open();
      TlsClient client(fd, {.max_version = version});
      ASSERT_TRUE(client.Handshake()) << client.error();
      ASSERT_TRUE(client.Send("x"));
      EXPECT_EQ(server.ReadExactly(1), "x");
      EXPECT_TRUE(server.lacks_certificate());
    }
    const double before = fixture.Failures("client_certificate");
    for (const auto& wrong :
         {TestAuthority("another").Sign("stranger"),
          fixture.authority.Sign("old", absl::Now() - absl::Hours(9), absl::Now() - absl::Hours(1))}) {
      auto [fd, server] = fixture.Open();
      TlsClient client(fd, {.certificate = wrong, .max_version = version});
      // In TLS 1.3 the client is through before it is refused.
      if (client.Handshake()) {
        EXPECT_EQ(client.Read(), "");
      }
      EXPECT_THAT(client.error(), HasSubstr("alert"));
      EXPECT_EQ(server.Read(), "");
    }
    EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Failures("client_certificate") == before + 2; }));
  }
}

TEST(TerminatorTest, ANewCertificateIsForNewConnections) {
  TlsFixture fixture;
  auto [old_fd, old_server] = fixture.Open();
  TlsClient old_client(old_fd, {});
  ASSERT_TRUE(old_client.Handshake());
  const absl::Time end = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now() + absl::Hours(99)));
  fixture.files.Options(fixture.authority.Sign("second", absl::Now() - absl::Hours(1), end));
  ASSERT_TRUE(fixture.terminator->Reload().ok());
  EXPECT_EQ(fixture.terminator->expiry(), end);
  EXPECT_EQ(hadal::testing::MetricValue(fixture.registry, "hadal_tls_certificate_expiry_timestamp_seconds"),
            static_cast<double>(absl::ToUnixSeconds(end)));

  auto [fd, server] = fixture.Open();
  TlsClient client(fd, {});
  ASSERT_TRUE(client.Handshake());
  EXPECT_EQ(old_client.server_name(), "first");
  EXPECT_EQ(client.server_name(), "second");
  old_server.Write("still there");
  EXPECT_EQ(old_client.Read(), "still there");

  // What cannot be read changes nothing.
  fixture.files.Write("key.pem", fixture.authority.Sign("third").key);
  const absl::Status status = fixture.terminator->Reload();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not the key of the certificate"));
  auto [next_fd, next_server] = fixture.Open();
  TlsClient next(next_fd, {});
  ASSERT_TRUE(next.Handshake());
  EXPECT_EQ(next.server_name(), "second");
  EXPECT_EQ(hadal::testing::MetricValue(fixture.registry, "hadal_tls_reloads_total{result=\"ok\"}"), 1);
  EXPECT_EQ(hadal::testing::MetricValue(fixture.registry, "hadal_tls_reloads_total{result=\"failed\"}"), 1);
}

TEST(TerminatorTest, StopPassesOnWhatTheServerHasSentAndEndsTheRest) {
  TlsFixture fixture;
  auto [fd, server] = fixture.Open();
  TlsClient client(fd, {});
  ASSERT_TRUE(client.Handshake());
  auto [silent, waiting] = fixture.Open();
  server.Write("last words");
  server.Close();
  fixture.terminator->Stop();
  EXPECT_EQ(client.Read(), "last words");
  EXPECT_EQ(client.Read(), "");
  EXPECT_TRUE(client.ended_well());
  EXPECT_EQ(waiting.Read(), "");
  ::close(silent);
}

}  // namespace
}  // namespace hadal::tls
