// SPDX-License-Identifier: Apache-2.0
#include "tests/support/raw_http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <utility>

namespace hadal::testing {

std::string HttpReply::Header(std::string_view name) const {
  const std::string wanted = "\r\n" + Lower(name) + ": ";
  const size_t at = Lower(head).find(wanted);
  if (at == std::string::npos) return "";
  const size_t begin = at + wanted.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

std::string HttpReply::Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return lower;
}

RawHttpClient::RawHttpClient(int port, int receive_buffer_bytes) {
  fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

bool RawHttpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string RawHttpClient::Request(std::string_view method, std::string_view path, std::string_view body,
                                   std::string_view headers) {
  std::string text(method);
  text.append(" ").append(path).append(" HTTP/1.1\r\nHost: test\r\n").append(headers);
  if (!body.empty() || method == "POST")
    text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  return text.append("\r\n").append(body);
}

HttpReply RawHttpClient::Do(std::string_view method, std::string_view path, std::string_view body,
                            std::string_view headers) {
  if (!Send(Request(method, path, body, headers))) return {};
  return Read();
}

bool RawHttpClient::ReadMore(int timeout_ms) {
  pollfd poll_fd{fd_, POLLIN, 0};
  if (::poll(&poll_fd, 1, timeout_ms) <= 0) return false;
  char bytes[65536];
  const ssize_t size = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (size <= 0) {
    ended_ = true;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(size));
  return true;
}

bool RawHttpClient::WaitClosed(int timeout_ms) {
  while (ReadMore(timeout_ms)) {
  }
  return ended_;
}

bool RawHttpClient::WaitFor(std::string_view text, int timeout_ms) {
  while (buffer_.find(text) == std::string::npos) {
    if (!ReadMore(timeout_ms)) return false;
  }
  return true;
}

HttpReply RawHttpClient::Read(int timeout_ms, bool head_only) {
  HttpReply reply;
  if (!WaitFor("\r\n\r\n", timeout_ms)) return reply;
  const size_t end = buffer_.find("\r\n\r\n");
  reply.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  const int status = std::atoi(reply.head.substr(9, 3).c_str());
  if (status == 100) return Read(timeout_ms, head_only);
  if (head_only) {
    reply.status = status;
    return reply;
  }
  if (!reply.Header("content-length").empty()) {
    const size_t size = std::strtoull(reply.Header("content-length").c_str(), nullptr, 10);
    while (buffer_.size() < size) {
      if (!ReadMore(timeout_ms)) return reply;
    }
    reply.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  } else if (reply.Header("transfer-encoding") == "chunked") {
    while (true) {
      if (!WaitFor("\r\n", timeout_ms)) return reply;
      const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
      const size_t begin = buffer_.find("\r\n") + 2;
      while (buffer_.size() < begin + size + 2) {
        if (!ReadMore(timeout_ms)) return reply;
      }
      reply.body += buffer_.substr(begin, size);
      buffer_.erase(0, begin + size + 2);
      if (size == 0) break;
    }
  } else {
    WaitClosed(timeout_ms);
    reply.body = std::exchange(buffer_, {});
  }
  reply.status = status;
  return reply;
}

}  // namespace hadal::testing
