// SPDX-License-Identifier: Apache-2.0
#include "tests/server/upstream/scripted_server.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/base/strings.h"

namespace hadal::testing {
namespace {

// Small, so that a client that does not read is felt soon.
constexpr int kSendBufferBytes = 16 << 10;

}  // namespace

std::string ScriptedServer::Connection::ReadRequest() {
  std::string text;
  size_t wanted = std::string::npos;
  char buffer[16 << 10];
  while (text.size() < wanted) {
    const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (size <= 0) return "";
    text.append(buffer, static_cast<size_t>(size));
    const size_t head = text.find("\r\n\r\n");
    if (head == std::string::npos || wanted != std::string::npos) continue;
    constexpr std::string_view kLength = "Content-Length: ";
    const size_t at = text.find(kLength);
    size_t length = 0;
    if (at < head) {
      const size_t begin = at + kLength.size();
      EXPECT_TRUE(absl::SimpleAtoi(text.substr(begin, text.find('\r', begin) - begin), &length));
    }
    wanted = head + 4 + length;
  }
  base::MutexLock lock(&server_->mutex_);
  server_->last_request_ = text;
  return text;
}

bool ScriptedServer::Connection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

bool ScriptedServer::Connection::Answer(int status, std::string_view body, std::string_view fields) {
  return Send(absl::StrCat("HTTP/1.1 ", status, " x\r\n", base::View(fields), "Content-Length: ", body.size(),
                           "\r\n\r\n", base::View(body)));
}

void ScriptedServer::Connection::WaitClosed() {
  char buffer[16 << 10];
  while (::recv(fd_, buffer, sizeof(buffer), 0) > 0) {
  }
}

void ScriptedServer::Connection::Reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

ScriptedServer::ScriptedServer(Script script) : script_(std::move(script)), listener_(/*backlog=*/64) {
  // Connections that are accepted have it, too.
  ::setsockopt(listener_.fd(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof(kSendBufferBytes));
  acceptor_ = std::thread([this] { Accept(); });
}

ScriptedServer::~ScriptedServer() {
  listener_.Shutdown();
  acceptor_.join();
  std::list<std::thread> threads;
  {
    base::MutexLock lock(&mutex_);
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void ScriptedServer::Accept() {
  while (true) {
    const int fd = listener_.Accept();
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ++accepted_;
    ++open_;
    base::MutexLock lock(&mutex_);
    fds_.push_back(fd);
    threads_.emplace_back([this, fd] {
      Connection connection(this, fd);
      script_(connection);
      base::MutexLock lock(&mutex_);
      fds_.remove(fd);
      ::close(fd);
      --open_;
    });
  }
}

ScriptedServer::Script ScriptedServer::Says(std::string bytes) {
  return [bytes = std::move(bytes)](Connection& connection) {
    connection.ReadRequest();
    connection.Send(bytes);
  };
}

int ScriptedServer::ClosedPort() { return ListeningSocket().port(); }

}  // namespace hadal::testing
