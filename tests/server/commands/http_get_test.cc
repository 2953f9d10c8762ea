// SPDX-License-Identifier: Apache-2.0
#include "server/commands/http_get.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/listening_socket.h"

namespace hadal::commands {
namespace {

using ::testing::StartsWith;

// Takes one connection, reads its request, sends `reply`, and keeps the connection open when `stay` is set until the
// client has closed it.
class OneShotServer {
 public:
  // `request`: what a client's request begins with; empty: whatever bytes come are its request.
  OneShotServer(std::string_view reply, bool stay, std::string_view request = "GET /health/live HTTP/1.1\r\nhost: ")
      : request_(request), thread_([this, reply = std::string(reply), stay] { Serve(reply, stay); }) {}
  ~OneShotServer() { thread_.join(); }

  std::string port() const { return std::to_string(listener_.port()); }

 private:
  void Serve(const std::string& reply, bool stay) {
    const int connection = listener_.Accept();
    std::string request;
    char buffer[1024];
    while (request.find(request_.empty() ? "" : "\r\n\r\n") == std::string::npos || request.empty()) {
      const ssize_t size = ::recv(connection, buffer, sizeof(buffer), 0);
      if (size <= 0) break;
      request.append(buffer, static_cast<size_t>(size));
    }
    EXPECT_THAT(request, StartsWith(request_));
    EXPECT_EQ(::send(connection, reply.data(), reply.size(), MSG_NOSIGNAL), static_cast<ssize_t>(reply.size()));
    while (stay && ::recv(connection, buffer, sizeof(buffer), 0) > 0) {
    }
    ::close(connection);
  }

  const std::string request_;
  const hadal::testing::ListeningSocket listener_;
  std::thread thread_;
};

absl::StatusOr<HttpReply> Get(std::string_view reply, bool stay, absl::Duration timeout = absl::Seconds(20)) {
  OneShotServer server(reply, stay);
  return HttpGet("127.0.0.1", server.port(), "/health/live", timeout);
}

TEST(HttpGetTest, ReadsAsMuchAsTheLengthSaysAndNeedsNoEndOfTheConnection) {
  const auto reply = Get("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nloading", /*stay=*/true);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 503);
  EXPECT_EQ(reply->body, "loading");
}

TEST(HttpGetTest, ReadsToTheEndOfTheConnectionWithoutALength) {
  const auto reply = Get("HTTP/1.1 200 OK\r\n\r\nfine", /*stay=*/false);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "fine");
}

TEST(HttpGetTest, SaysWhyThereIsNoResponse) {
  EXPECT_EQ(Get("", false).status().message(), "the connection ended before a response");
  EXPECT_EQ(Get("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine", false).status().message(),
            "the connection ended within a response");
  EXPECT_EQ(Get("SSH-2.0-OpenSSH\r\n\r\n", false).status().message(), "what came is no HTTP response");
  EXPECT_EQ(Get("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", false).status().message(),
            "the response has no valid content-length");
  EXPECT_EQ(Get("HTTP/1.1 200 OK\r\n\r\n" + std::string(2 << 20, 'x'), true).status().message(),
            "the response is longer than 1048576 bytes");
}

TEST(HttpGetTest, EndsWhenTheTimeHasPassed) {
  const absl::Status status = Get("HTTP/1.1 200 OK\r\n", /*stay=*/true, absl::Milliseconds(50)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(HttpGetTest, AuthoritiesAreReadBeforeAnybodyIsAsked) {
  EXPECT_TRUE(TlsTrust::Authorities("").ok()) << "the system's";
  const absl::Status status = TlsTrust::Authorities("/no/such/file.pem").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "/no/such/file.pem holds no certificate in PEM form");
}

TEST(HttpGetTest, TlsToAPlainPortIsSaidSo) {
  OneShotServer server("HTTP/1.1 400 Bad Request\r\n\r\n", /*stay=*/false, /*request=*/"");
  const TlsTrust trust = TlsTrust::Everybody();
  const absl::Status status = HttpGet("127.0.0.1", server.port(), "/", absl::Seconds(20), &trust).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), StartsWith("TLS failed: "));
}

TEST(HttpGetTest, NobodyListens) {
  std::string port;
  {
    OneShotServer server("", false);
    port = server.port();
    EXPECT_FALSE(HttpGet("127.0.0.1", port, "/health/live", absl::Seconds(20)).ok());
  }
  const absl::Status status = HttpGet("127.0.0.1", port, "/health/live", absl::Seconds(20)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "Connection refused");
}

}  // namespace
}  // namespace hadal::commands
