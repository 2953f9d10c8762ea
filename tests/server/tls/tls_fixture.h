// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "server/tls/terminator.h"
#include "tests/support/metric_value.h"
#include "tests/support/test_certificates.h"
#include "tests/support/tls_client.h"

namespace hadal::testing {

// The plain end of a connection, as the server has it.
class PlainEnd {
 public:
  explicit PlainEnd(tls::Terminator::Plain plain) : plain_(std::move(plain)) {}
  ~PlainEnd() { Close(); }
  PlainEnd(PlainEnd&& other) noexcept : plain_(std::exchange(other.plain_, {})) {}

  int fd() const { return plain_.fd; }
  bool lacks_certificate() const { return plain_.lacks_certificate->load(); }
  void Close() {
    if (plain_.fd >= 0) ::close(std::exchange(plain_.fd, -1));
  }
  // Until something can be read, or the end.
  bool WaitReadable(int timeout_ms = 60'000) const {
    pollfd state{plain_.fd, POLLIN, 0};
    return ::poll(&state, 1, timeout_ms) > 0;
  }
  // What comes next; empty at the end.
  std::string Read() const {
    std::string bytes(64 << 10, '\0');
    if (!WaitReadable()) {
      ADD_FAILURE() << "nothing came";
      return "";
    }
    const ssize_t size = ::recv(plain_.fd, bytes.data(), bytes.size(), 0);
    bytes.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return bytes;
  }
  std::string ReadExactly(size_t size) const {
    std::string all;
    while (all.size() < size) {
      const std::string more = Read();
      if (more.empty()) break;
      all += more;
    }
    return all;
  }
  // As much as is taken within the time; waits for room.
  size_t Write(std::string_view bytes, int timeout_ms = 60'000) const {
    size_t written = 0;
    pollfd state{plain_.fd, POLLOUT, 0};
    while (written < bytes.size() && ::poll(&state, 1, timeout_ms) > 0) {
      const ssize_t size = ::send(plain_.fd, bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL);
      if (size <= 0) break;
      written += static_cast<size_t>(size);
    }
    return written;
  }
  // The client has gone, as servers ask for it.
  bool HungUp(int timeout_ms = 60'000) const {
    pollfd state{plain_.fd, POLLRDHUP, 0};
    return ::poll(&state, 1, timeout_ms) > 0;
  }

 private:
  tls::Terminator::Plain plain_;
};

// A terminator with a certificate of its own, and clients over socket pairs.
class TlsFixture {
 public:
  explicit TlsFixture(const std::function<void(TlsFixture*, tls::Terminator::Options*)>& change = {})
      : certificate(authority.Sign("first")), metrics(&registry) {
    tls::Terminator::Options options{.tls = files.Options(certificate)};
    if (change) change(this, &options);
    auto created = tls::Terminator::Create(options, &metrics);
    EXPECT_TRUE(created.ok()) << created.status();
    terminator = *std::move(created);
  }

  // Both ends of a new connection: the client's socket, and what the server has.
  std::pair<int, PlainEnd> Open(bool http2_first = false) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    auto plain = terminator->Terminate(pair[1], http2_first, "test");
    EXPECT_TRUE(plain.ok()) << plain.status();
    return {pair[0], PlainEnd(*std::move(plain))};
  }
  double Failures(std::string_view reason) {
    return MetricValue(registry, "hadal_tls_handshake_failures_total{reason=\"" + std::string(reason) + "\"}");
  }
  double Handshakes(std::string_view version) {
    return MetricValue(registry, "hadal_tls_handshakes_total{version=\"" + std::string(version) + "\"}");
  }
  double Connections() { return MetricValue(registry, "hadal_tls_connections"); }
  static bool WaitFor(const std::function<bool()>& condition, int timeout_ms = 60'000) {
    for (int i = 0; i < timeout_ms; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  TestAuthority authority;
  TestCertificate certificate;
  TestTlsFiles files;
  base::MetricRegistry registry;
  tls::TlsMetrics metrics;
  std::unique_ptr<tls::Terminator> terminator;
};

}  // namespace hadal::testing
