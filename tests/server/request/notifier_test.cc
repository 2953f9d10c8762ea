// SPDX-License-Identifier: Apache-2.0
#include "server/request/notifier.h"

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"

namespace hadal::request {
namespace {

TEST(NotifierTest, RunsTheCallbackUntilDisconnected) {
  int calls = 0;
  Notifier notifier([&] { ++calls; });
  notifier.Notify();
  notifier.Notify();
  EXPECT_EQ(calls, 2);
  notifier.Disconnect();
  notifier.Notify();
  EXPECT_EQ(calls, 2);
  notifier.Disconnect();
}

TEST(NotifierTest, DisconnectWaitsForTheRunningCallbackAndReleasesIt) {
  std::atomic<bool> running{false}, ended{false}, let_go{false};
  auto captured = std::make_shared<int>(0);
  std::weak_ptr<int> watch = captured;
  Notifier notifier([&, held = std::move(captured)] {
    running = true;
    while (!let_go) std::this_thread::yield();
    ended = true;
  });
  std::thread producer([&] { notifier.Notify(); });
  while (!running) std::this_thread::yield();
  std::atomic<bool> disconnected{false};
  std::thread consumer([&] {
    notifier.Disconnect();
    EXPECT_TRUE(ended);
    EXPECT_TRUE(watch.expired());
    disconnected = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(disconnected);
  let_go = true;
  consumer.join();
  producer.join();
}

// What the callback held is the consumer's to release: never the producer's thread, which may outlive it.
TEST(NotifierTest, TheProducerNeverReleasesWhatTheCallbackHeld) {
  struct Owned {
    explicit Owned(std::atomic<int>* wrong_thread) : wrong_thread(wrong_thread), owner(std::this_thread::get_id()) {}
    ~Owned() {
      if (std::this_thread::get_id() != owner) wrong_thread->fetch_add(1);
    }
    std::atomic<int>* wrong_thread;
    std::thread::id owner;
  };
  std::atomic<int> wrong_thread{0};
  for (int round = 0; round < 500; ++round) {
    auto notifier = std::make_shared<Notifier>([held = std::make_shared<Owned>(&wrong_thread)] {});
    std::thread producer([notifier] {
      for (int i = 0; i < 20; ++i) notifier->Notify();
    });
    notifier->Disconnect();
    producer.join();
  }
  EXPECT_EQ(wrong_thread, 0);
}

}  // namespace
}  // namespace hadal::request
