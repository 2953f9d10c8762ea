// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

namespace hadal::testing {

struct HttpReply {
  int status = 0;  // 0: the connection ended before a whole answer came
  std::string head;
  std::string body;

  // Value of a header field, "" when it is not there. `name` in lower case, as written by the server.
  std::string Header(std::string_view name) const;
  static std::string Lower(std::string_view text);
};

// A blocking HTTP/1.1 client over one connection that sends exactly the bytes it is told. Reads time out.
class RawHttpClient {
 public:
  explicit RawHttpClient(int port, int receive_buffer_bytes = 0);
  ~RawHttpClient() { Close(); }
  RawHttpClient(const RawHttpClient&) = delete;
  RawHttpClient& operator=(const RawHttpClient&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  bool Send(std::string_view bytes);
  static std::string Request(std::string_view method, std::string_view path, std::string_view body = {},
                             std::string_view headers = {});
  HttpReply Do(std::string_view method, std::string_view path, std::string_view body = {},
               std::string_view headers = {});

  // How long to wait for what a server is to do. Only a test that fails waits so long: a machine under load is slow.
  static constexpr int kPatienceMs = 60'000;
  // Waits for more bytes; false at the end of the connection or after the time-out.
  bool ReadMore(int timeout_ms = kPatienceMs);
  bool ended() const { return ended_; }
  // True when the server closes the connection within the time.
  bool WaitClosed(int timeout_ms = kPatienceMs);
  const std::string& buffer() const { return buffer_; }
  // Reads until the buffer holds the text.
  bool WaitFor(std::string_view text, int timeout_ms = kPatienceMs);

  // One whole answer; chunked bodies are joined.
  HttpReply Read(int timeout_ms = kPatienceMs, bool head_only = false);
  HttpReply ReadHead() { return Read(kPatienceMs, /*head_only=*/true); }

 private:
  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace hadal::testing
