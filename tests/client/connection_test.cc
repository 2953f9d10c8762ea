// SPDX-License-Identifier: Apache-2.0
// What a connection does besides calls: its beginning, TLS, and signs of life.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "client/batch_client.h"
#include "client/client.h"
#include "tests/client/scripted_server.h"
#include "tests/support/listening_socket.h"
#include "tests/support/test_certificates.h"

namespace hadal::client {
namespace {

using ::hadal::testing::ListeningSocket;
using ::hadal::testing::TestAuthority;
using ::hadal::testing::TestCertificate;

class ClientTlsTest : public ::testing::Test {
 protected:
  std::shared_ptr<grpc::ServerCredentials> Credentials(grpc_ssl_client_certificate_request_type request) const {
    const TestCertificate own = authority_.Sign("server");
    grpc::SslServerCredentialsOptions options(request);
    options.pem_root_certs = authority_.certificate();
    options.pem_key_cert_pairs = {{own.key, own.certificate}};
    return grpc::SslServerCredentials(options);
  }

  // Of one attempt.
  static absl::Status Ask(ChannelOptions options) {
    options.retry.max_attempts = 1;
    return (*Client::Connect(options))->Chat(Question(), kIgnore).status();
  }

  const TestAuthority authority_;
};

TEST(ProxyTest, AServerOnThisHostIsReachedWithoutTheProxyOfTheEnvironment) {
  const ListeningSocket unused;  // it takes connections and never answers, as a proxy elsewhere would
  ::setenv("http_proxy", ("http://127.0.0.1:" + std::to_string(unused.port())).c_str(), 1);
  ScriptedServer server(0, "");
  const absl::Status status = (*Client::Connect({.targets = {server.target()}}))->WarmUp(absl::Seconds(10));
  ::unsetenv("http_proxy");
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTlsTest, TrustsWhomItIsToldToTrust) {
  ScriptedServer server(0, "", Credentials(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE));
  const ChannelOptions trusting = {
      .targets = {server.target()}, .tls = true, .tls_authorities = authority_.certificate()};
  EXPECT_TRUE(Ask(trusting).ok());
  EXPECT_TRUE((*Client::Connect(trusting))->WarmUp(absl::Seconds(30)).ok());
  EXPECT_EQ(server.calls(), 1);

  ChannelOptions wrong = trusting;
  wrong.tls_authorities = TestAuthority("another").certificate();
  EXPECT_TRUE(absl::IsUnavailable(Ask(wrong)));
  wrong.tls_authorities.clear();
  EXPECT_TRUE(absl::IsUnavailable(Ask(wrong))) << "the system does not trust it";
  EXPECT_TRUE(absl::IsUnavailable(Ask({.targets = {server.target()}}))) << "plain text";
  EXPECT_EQ(server.calls(), 1);
}

TEST_F(ClientTlsTest, RefusesAServerOfAnotherName) {
  ScriptedServer server(0, "", Credentials(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE), "127.0.0.2");
  const ChannelOptions options = {
      .targets = {server.target()}, .tls = true, .tls_authorities = authority_.certificate()};
  EXPECT_TRUE(absl::IsUnavailable(Ask(options))) << "the certificate is for localhost and 127.0.0.1";
  EXPECT_EQ(server.calls(), 0);
}

TEST_F(ClientTlsTest, ShowsItsOwnCertificate) {
  ScriptedServer server(0, "", Credentials(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY));
  ChannelOptions options = {.targets = {server.target()}, .tls = true, .tls_authorities = authority_.certificate()};
  EXPECT_TRUE(absl::IsUnavailable(Ask(options))) << "none";
  const TestCertificate stranger = TestAuthority("another").Sign("stranger");
  options.tls_certificate = stranger.certificate;
  options.tls_key = stranger.key;
  EXPECT_TRUE(absl::IsUnavailable(Ask(options))) << "of an authority that the server does not trust";
  EXPECT_EQ(server.calls(), 0);
  const TestCertificate own = authority_.Sign("client");
  options.tls_certificate = own.certificate;
  options.tls_key = own.key;
  EXPECT_TRUE(Ask(options).ok());
  EXPECT_EQ(server.calls(), 1);
}

TEST_F(ClientTlsTest, RefusesTextsThatAreNoCertificates) {
  const TestCertificate own = authority_.Sign("client");
  const ChannelOptions plain = {.tls_certificate = own.certificate, .tls_key = own.key};
  EXPECT_EQ(Client::Connect(plain).status().code(), absl::StatusCode::kInvalidArgument);
  const ChannelOptions half = {.tls = true, .tls_certificate = own.certificate};
  EXPECT_EQ(Client::Connect(half).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ClientTlsTest, TakesUrls) {
  ScriptedServer plain(0, "");
  EXPECT_TRUE(Ask({.targets = {"http://" + plain.target()}}).ok());
  EXPECT_TRUE(Ask({.targets = {"http://" + plain.target() + "/"}}).ok());
  EXPECT_EQ(plain.calls(), 2);
  ScriptedServer server(0, "", Credentials(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE));
  EXPECT_TRUE(
      Ask({.targets = {"https://" + server.target()}, .tls = true, .tls_authorities = authority_.certificate()}).ok());
  EXPECT_EQ(server.calls(), 1);
}

TEST_F(ClientTlsTest, RefusesUrlsThatItCannotFollow) {
  const auto message = [](const std::string& target, bool tls) {
    return std::string(Client::Connect({.targets = {target}, .tls = tls}).status().message());
  };
  EXPECT_EQ(message("https://a:1", false), "the target https://a:1 needs tls = true");
  EXPECT_EQ(message("http://a:1", true), "the target http://a:1 is without TLS, but tls is true");
  EXPECT_EQ(message("http://a:1/v1", false), "the target http://a:1/v1 has a path; gRPC needs none: host:port");
  EXPECT_EQ(message("http://", false), "the target http:// names no host");
  EXPECT_EQ(message("http://[::1]", false), "");
}

// A server that takes a connection and a call, and then says nothing but, if it `lives`, its signs of life.
class SilentServer {
 public:
  explicit SilentServer(bool lives) : lives_(lives) {}
  ~SilentServer() {
    listener_.Shutdown();
    if (const int connection = connection_; connection >= 0) shutdown(connection, SHUT_RDWR);
    thread_.join();
  }

  std::string target() const { return listener_.target(); }
  int pings() const { return pings_; }
  int port() const { return listener_.port(); }
  int connections() const { return connections_; }

 private:
  // HTTP/2: frame types, and the flag of those that answer.
  static constexpr char kSettings = 4, kPing = 6, kAck = 1;
  static constexpr size_t kPreface = 24, kHeader = 9;

  void Serve() {
    for (int connection; (connection = listener_.Accept()) >= 0;) {
      ++connections_;
      connection_ = connection;
      std::string bytes;
      Send(connection, kSettings, 0, "");
      if (Receive(connection, kPreface, &bytes)) {
        while (Receive(connection, kHeader, &bytes)) {
          const std::string header = bytes;
          const auto byte = [&header](int i) { return static_cast<unsigned char>(header[i]); };
          if (!Receive(connection, (byte(0) << 16) + (byte(1) << 8) + byte(2), &bytes)) break;
          if ((header[4] & kAck) != 0) continue;
          if (header[3] == kSettings) Send(connection, kSettings, kAck, "");
          if (header[3] != kPing) continue;
          ++pings_;
          if (lives_) Send(connection, kPing, kAck, bytes);
        }
      }
      connection_ = -1;
      close(connection);
    }
  }

  static bool Receive(int connection, size_t size, std::string* bytes) {
    bytes->resize(size);
    return size == 0 || recv(connection, bytes->data(), size, MSG_WAITALL) == static_cast<ssize_t>(size);
  }

  static void Send(int connection, char type, char flags, const std::string& payload) {
    std::string frame = {0, 0, static_cast<char>(payload.size()), type, flags, 0, 0, 0, 0};
    frame += payload;
    send(connection, frame.data(), frame.size(), MSG_NOSIGNAL);
  }

  const bool lives_;
  const ListeningSocket listener_;
  std::atomic<int> connections_{0}, connection_{-1};
  std::atomic<int> pings_{0};
  std::thread thread_{[this] { Serve(); }};
};

bool IsConnected(const SilentServer& server, absl::Duration within) {
  const absl::Time start = absl::Now();
  while (server.connections() == 0 && absl::Now() - start < within) absl::SleepFor(absl::Milliseconds(1));
  return server.connections() > 0;
}

TEST(ConnectTest, ResolvesNamesAndConnectsWithoutACall) {
  SilentServer one(/*lives=*/true), two(/*lives=*/true), away(/*lives=*/true);
  const std::string named = "localhost:" + std::to_string(two.port());
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {"127.0.0.1:1", one.target(), named}});
  EXPECT_TRUE(IsConnected(one, absl::Seconds(60)));
  EXPECT_TRUE(IsConnected(two, absl::Seconds(60))) << "by its name";
  const std::unique_ptr<BatchClient> batches = *BatchClient::Connect({.targets = {away.target()}});
  EXPECT_TRUE(IsConnected(away, absl::Seconds(60)));
}

TEST(ConnectTest, AClientThatGoesWhileItConnectsLeavesNoConnection) {
  SilentServer server(/*lives=*/true);
  for (int i = 0; i < 60; ++i) {
    const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
    absl::SleepFor(absl::Microseconds(50 * (i % 20)));
  }
  // The server serves one connection after another.
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  EXPECT_TRUE(client->WarmUp(absl::Seconds(60)).ok());
}

TEST(ConnectTest, DoesNotWaitForAServerThatIsAway) {
  // Nothing is there, and nothing says so.
  const absl::Time start = absl::Now();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {"192.0.2.1:8000", "no.such.name.invalid:8000"}});
  EXPECT_LT(absl::Now() - start, absl::Seconds(15)) << "gRPC tries for 20 s";
}

TEST(ConnectTest, LeavesItToTheFirstCallWhereThatIsWanted) {
  SilentServer server(/*lives=*/true);
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .connect_ahead = false});
  EXPECT_FALSE(IsConnected(server, absl::Milliseconds(300)));
  EXPECT_TRUE(client->WarmUp(absl::Seconds(60)).ok());
  EXPECT_TRUE(IsConnected(server, absl::Seconds(60)));
}

TEST(KeepAliveTest, AServerThatHasGoneIsGivenUp) {
  SilentServer server(/*lives=*/false);
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.max_attempts = 1}, .keep_alive = absl::Seconds(1)});
  EXPECT_TRUE(absl::IsUnavailable(client->Chat(Question(), kIgnore).status()));
  EXPECT_EQ(server.pings(), 1);
}

TEST(KeepAliveTest, ALongWaitIsWatchedToItsEnd) {
  SilentServer server(/*lives=*/true);
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .keep_alive = absl::Seconds(1)});
  const auto enough = [&server](std::string_view, std::string_view) { return server.pings() < 4; };
  const auto result = client->Chat(Question(), enough);
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  EXPECT_GE(server.pings(), 4) << "gRPC by itself stops after two where nothing is sent";
}

TEST(KeepAliveTest, RefusesAnIntervalThatServersTakeForAnAttack) {
  EXPECT_EQ(Client::Connect({.keep_alive = absl::Milliseconds(999)}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::client
