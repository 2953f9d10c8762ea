// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/redis/client.h"
#include "tests/support/listening_socket.h"

namespace hadal::testing {

// A server that speaks as much of Redis' protocol as the tests need.
class FakeRedis {
 public:
  using Answer = std::function<std::string(const std::vector<std::string>& words)>;

  // `cluster` answers CLUSTER, which each new connection begins with; without it this is no cluster.
  explicit FakeRedis(Answer answer, Answer cluster = nullptr)
      : answer_(std::move(answer)), cluster_(std::move(cluster)) {}
  ~FakeRedis() {
    stopping_ = true;
    listener_.Shutdown();
    accepting_.join();
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    for (std::thread& thread : serving_) thread.join();
    for (const int fd : fds_) ::close(fd);
  }
  // Closes the connections that stand; new ones are accepted.
  void Hangup() {
    const std::lock_guard lock(mutex_);
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
  }
  int port() const { return listener_.port(); }
  int connections() const { return connections_; }
  redis::Endpoint endpoint() const { return {.url = {.host = "127.0.0.1", .port = port()}}; }

 private:
  void Accept() {
    while (!stopping_) {
      const int fd = listener_.Accept();
      if (fd < 0) return;
      ++connections_;
      {
        const std::lock_guard lock(mutex_);
        fds_.push_back(fd);
      }
      serving_.emplace_back([this, fd] { Serve(fd); });
    }
  }
  // "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" and so on; an empty answer is none.
  void Serve(int fd) {
    std::string in;
    char buffer[4096];
    while (true) {
      std::vector<std::string> words;
      while (!Take(&in, &words)) {
        const ssize_t got = ::read(fd, buffer, sizeof(buffer));
        if (got <= 0) {
          ::shutdown(fd, SHUT_RDWR);
          return;
        }
        in.append(buffer, static_cast<size_t>(got));
      }
      const std::string out = words[0] != "CLUSTER" ? answer_(words)
                              : cluster_ != nullptr ? cluster_(words)
                                                    : "-ERR This instance has cluster support disabled\r\n";
      if (out.empty()) continue;
      EXPECT_EQ(::send(fd, out.data(), out.size(), MSG_NOSIGNAL), static_cast<ssize_t>(out.size()));
    }
  }
  static bool Take(std::string* in, std::vector<std::string>* words) {
    size_t at = 0;
    const auto number = [&](char mark) {
      const size_t end = in->find("\r\n", at);
      if (end == std::string::npos) return -1;
      EXPECT_EQ((*in)[at], mark);
      int value = -1;
      EXPECT_TRUE(absl::SimpleAtoi(in->substr(at + 1, end - at - 1), &value));
      at = end + 2;
      return value;
    };
    words->clear();
    const int count = number('*');
    if (count < 0) return false;
    for (int i = 0; i < count; ++i) {
      const int size = number('$');
      if (size < 0 || in->size() < at + static_cast<size_t>(size) + 2) return false;
      words->push_back(in->substr(at, static_cast<size_t>(size)));
      at += static_cast<size_t>(size) + 2;
    }
    in->erase(0, at);
    return true;
  }

  const Answer answer_;
  const Answer cluster_;
  const ListeningSocket listener_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::mutex mutex_;
  std::vector<int> fds_;  // under mutex_ while the accepting thread runs
  std::vector<std::thread> serving_;
  std::thread accepting_{[this] { Accept(); }};
};

// A text as Redis sends it.
inline std::string Bulk(const std::string& text) { return absl::StrCat("$", text.size(), "\r\n", text, "\r\n"); }

}  // namespace hadal::testing
