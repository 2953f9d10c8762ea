// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/redis_store.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using ::testing::HasSubstr;

const CacheKey kKey(32, 'k');

TEST(RedisUrlTest, ReadsAllItsParts) {
  const auto url = ParseRedisUrl("redis://me:p%40ss@cache.local:6380/3");
  ASSERT_OK(url);
  EXPECT_EQ(url->host, "cache.local");
  EXPECT_EQ(url->port, 6380);
  EXPECT_EQ(url->user, "me");
  EXPECT_EQ(url->password, "p@ss");
  EXPECT_EQ(url->db, 3);
  EXPECT_EQ(ParseRedisUrl("redis://:secret@h")->password, "secret");
  EXPECT_EQ(ParseRedisUrl("redis://[::1]:7000")->host, "::1");
  EXPECT_EQ(ParseRedisUrl("redis://[::1]:7000")->port, 7000);
  EXPECT_EQ(ParseRedisUrl("redis://h")->port, 6379);
}

TEST(RedisUrlTest, SaysWhatIsWrongAndNoPassword) {
  for (const char* text :
       {"rediss://secret@h", "http://secret@h", "redis://u:secret%4@h", "redis://:secret@", "redis://:secret@h:0",
        "redis://:secret@h:70000", "redis://:secret@h/x", "redis://:secret@[::1"}) {
    const auto url = ParseRedisUrl(text);
    EXPECT_EQ(url.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_FALSE(absl::StrContains(url.status().message(), "secret")) << text;
  }
}

TEST(RedisSlotTest, IsThatOfTheClusterSpecification) {
  EXPECT_EQ(RedisSlot("123456789"), 0x31c3 % 16384) << "the check value of CRC-16/XMODEM";
  EXPECT_EQ(RedisSlot("foo"), 12182);
}

// A server that speaks as much of Redis' protocol as the tests need.
class FakeRedis {
 public:
  using Answer = std::function<std::string(const std::vector<std::string>& words)>;

  explicit FakeRedis(Answer answer) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { Accept(); });
  }
  ~FakeRedis() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    ::close(listener_);
    for (std::thread& thread : serving_) thread.join();
  }
  int port() const { return port_; }
  int connections() const { return connections_; }
  RedisUrl url() const { return {.host = "127.0.0.1", .port = port_}; }

 private:
  void Accept() {
    while (!stopping_) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      ++connections_;
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
          ::close(fd);
          return;
        }
        in.append(buffer, static_cast<size_t>(got));
      }
      const std::string out = answer_(words);
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
  const int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::vector<std::thread> serving_;
  std::thread accepting_;
};

std::string Bulk(const std::string& text) { return absl::StrCat("$", text.size(), "\r\n", text, "\r\n"); }

TEST(RedisStoreTest, LogsInAndReadsAndWrites) {
  std::vector<std::vector<std::string>> seen;
  {
    FakeRedis redis([&](const std::vector<std::string>& words) -> std::string {
      seen.push_back(words);
      return words[0] == "GET" ? Bulk(std::string("a\0b", 3)) : "+OK\r\n";
    });
    RedisUrl url = redis.url();
    url.user = "me";
    url.password = "secret";
    url.db = 2;
    const auto connection = MakeRedisStore(url)->Connect(absl::Seconds(20));
    EXPECT_OK(connection->Put(kKey, std::string_view("x\0y", 3), absl::Seconds(60)));
    EXPECT_EQ(connection->Get(kKey).value(), std::string("a\0b", 3));
    EXPECT_EQ(redis.connections(), 1);
  }
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0], (std::vector<std::string>{"AUTH", "me", "secret"}));
  EXPECT_EQ(seen[1], (std::vector<std::string>{"SELECT", "2"}));
  EXPECT_EQ(seen[2][2], std::string("x\0y", 3));
  EXPECT_EQ(seen[2][3], "PX");
  EXPECT_EQ(seen[2][4], "60000");
  EXPECT_EQ(seen[3][1], seen[2][1]);
}

TEST(RedisStoreTest, WhatIsNotThereIsNotFoundAndErrorsAreTold) {
  std::atomic<bool> loading{false};
  FakeRedis redis([&](const std::vector<std::string>&) -> std::string {
    return loading ? "-LOADING Redis is loading the dataset in memory\r\n" : "$-1\r\n";
  });
  const auto connection = MakeRedisStore(redis.url())->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsNotFound(connection->Get(kKey).status()));
  loading = true;
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
  EXPECT_THAT(std::string(connection->Put(kKey, "x", absl::InfiniteDuration()).message()), HasSubstr("LOADING"));
  EXPECT_EQ(redis.connections(), 1) << "it is still there";
}

TEST(RedisStoreTest, FollowsAMoveAndRemembersIt) {
  std::atomic<int> at_first{0}, at_second{0};
  FakeRedis second([&](const std::vector<std::string>&) {
    ++at_second;
    return Bulk("here");
  });
  FakeRedis first([&](const std::vector<std::string>&) {
    ++at_first;
    return absl::StrCat("-MOVED 7 127.0.0.1:", second.port(), "\r\n");
  });
  const auto connection = MakeRedisStore(first.url())->Connect(absl::Seconds(20));
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(at_first, 1);
  EXPECT_EQ(at_second, 2);
}

TEST(RedisStoreTest, AsksWhereASlotIsOnItsWay) {
  // Only a command behind ASKING is served.
  std::atomic<bool> asking{false};
  FakeRedis second([&](const std::vector<std::string>& words) -> std::string {
    if (words[0] == "ASKING") {
      asking = true;
      return "+OK\r\n";
    }
    return asking.exchange(false) ? Bulk("here") : "-MOVED 7 127.0.0.1:1\r\n";
  });
  std::atomic<int> at_first{0};
  FakeRedis first([&](const std::vector<std::string>&) {
    ++at_first;
    return absl::StrCat("-ASK 7 127.0.0.1:", second.port(), "\r\n");
  });
  const auto connection = MakeRedisStore(first.url())->Connect(absl::Seconds(20));
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(connection->Get(kKey).value(), "here");
  EXPECT_EQ(at_first, 2) << "the slot has not moved yet";
}

TEST(RedisStoreTest, NodesThatPointAtEachOtherAreLeft) {
  std::atomic<int> port{0};
  FakeRedis redis([&](const std::vector<std::string>&) { return absl::StrCat("-MOVED 7 :", port.load(), "\r\n"); });
  port = redis.port();
  const auto connection = MakeRedisStore(redis.url())->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
}

TEST(RedisStoreTest, AReplyThatIsLateIsNotTakenForTheNextOnes) {
  std::atomic<bool> silent{true};
  FakeRedis redis([&](const std::vector<std::string>&) { return silent ? std::string() : Bulk("right"); });
  const auto connection = MakeRedisStore(redis.url())->Connect(absl::Seconds(1));
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
  silent = false;
  EXPECT_EQ(connection->Get(kKey).value(), "right");
  EXPECT_EQ(redis.connections(), 2);
}

TEST(RedisStoreTest, OneThatIsNotThereIsUnavailable) {
  const auto connection = MakeRedisStore({.host = "127.0.0.1", .port = 1})->Connect(absl::Seconds(20));
  EXPECT_TRUE(absl::IsUnavailable(connection->Get(kKey).status()));
}

}  // namespace
}  // namespace hadal::response_cache
