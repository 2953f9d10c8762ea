// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/tls/openssl_ptr.h"
#include "tests/support/test_certificates.h"

namespace hadal::testing {

// A blocking TLS client over a connected socket. Reads and writes time out after 10 s.
class TlsClient {
 public:
  struct Options {
    std::string authority;  // PEM; the server must be signed by it. Empty: whatever certificate it has
    TestCertificate certificate;
    int min_version = 0;  // TLS1_2_VERSION, ...; 0: any
    int max_version = 0;
    std::vector<std::string> protocols;  // offered by ALPN
  };

  // Owns `fd`.
  TlsClient(int fd, const Options& options);
  // Connects to a port of 127.0.0.1.
  static int Connect(int port);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  // The handshake; false when it fails, and error() says why.
  bool Handshake();
  const std::string& error() const { return error_; }
  std::string protocol() const;  // that was agreed upon; empty: none
  std::string version() const;
  std::string server_name() const;  // common name of the server's certificate
  int fd() const { return fd_; }

  bool Send(std::string_view bytes);
  // What comes next, up to `limit` bytes; empty at the end.
  std::string Read(size_t limit = 64 << 10);
  // Reads until `text` has come, or the end; all that has come.
  std::string ReadUntil(std::string_view text);
  // Reads until the end.
  std::string ReadAll();
  // Tells the server that nothing more comes.
  void SendEnd();
  // After Read has returned nothing: the server has said itself that this is the end.
  bool ended_well() const;

 private:
  int fd_ = -1;
  tls::ContextPtr context_;
  tls::SslPtr ssl_;
  std::string error_;
};

}  // namespace hadal::testing
