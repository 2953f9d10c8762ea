// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/redis/client.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

// Debian's redis-server on a port of its own, with an append-only file in a folder of its own unless `flags` say
// otherwise: written at once and never synced, so that Kill loses nothing (with everysec a write waits for a slow
// sync). Tests skip where it is not installed.
class RedisServer {
 public:
  static bool Installed() { return ::access("/usr/bin/redis-server", X_OK) == 0; }

  explicit RedisServer(std::vector<std::string> flags = {"--appendonly", "yes", "--appendfsync", "no"})
      : flags_(std::move(flags)) {
    Start();
  }
  ~RedisServer() { Kill(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  // On the port that it had, if it has had one. A port that somebody else has taken meanwhile is left.
  void Start() {
    for (int tries = 0; tries < 5; ++tries) {
      if (port_ == 0) port_ = FreePort();
      std::vector<std::string> words = {
          "redis-server", "--bind",  "127.0.0.1", "--save",           "", "--dir", folder_.path(),
          "--loglevel",   "warning", "--logfile", folder_.path("log")};
      if (!tls_) words.insert(words.end(), {"--port", absl::StrCat(port_)});
      if (tls_) words.insert(words.end(), {"--port", "0", "--tls-port", absl::StrCat(port_)});
      words.insert(words.end(), flags_.begin(), flags_.end());
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      ASSERT_EQ(::posix_spawn(&pid_, "/usr/bin/redis-server", nullptr, nullptr, arguments.data(), environ), 0);
      if (Answers()) return;
      Kill();
      port_ = 0;
    }
    FAIL() << "redis-server does not start";
  }
  // As kill -9 does.
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void Pause() { ::kill(pid_, SIGSTOP); }
  void Continue() { ::kill(pid_, SIGCONT); }

  // Of TLS; `flags` name its certificate.
  static RedisServer Tls(std::vector<std::string> flags) { return RedisServer(std::move(flags), /*tls=*/true); }

  int port() const { return port_; }
  std::string url() const { return absl::StrCat("redis://127.0.0.1:", port_); }
  redis::Endpoint endpoint() const { return {.url = {.host = "127.0.0.1", .port = port_}}; }

 private:
  RedisServer(std::vector<std::string> flags, bool tls) : flags_(std::move(flags)), tls_(tls) { Start(); }

  static int FreePort() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ::close(fd);
    return ntohs(address.sin_port);
  }
  // Until it takes connections and has read its file.
  bool Answers() const {
    for (int i = 0; i < 6000; ++i) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) return false;
      const auto opened = redis::Connection::Open("127.0.0.1", port_, nullptr, absl::Seconds(10));
      if (opened.ok() && tls_) return true;
      if (opened.ok()) {
        const auto pong = (*opened)->Run({{"PING"}});
        if (pong.ok() && !(*pong)[0].text.starts_with("LOADING")) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  const TempFolder folder_;
  const std::vector<std::string> flags_;
  const bool tls_ = false;
  int port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace hadal::testing
