// SPDX-License-Identifier: Apache-2.0
// Whole messages, as a subscriber of ZeroMQ gets them. tests/e2e/test_kv_events.py reads them with Python's libraries.
#include "server/kv_events/event_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/status_matchers.h"

namespace hadal::kv_events {
namespace {

using ::testing::HasSubstr;
using Frames = std::vector<std::string>;

constexpr int kTimeoutMs = 20'000;

uint64_t Number(const std::string& bytes) {
  uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

std::string Bytes(uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

// A connected socket of a subscriber.
class Peer {
 public:
  Peer(int type, const std::string& endpoint) : context_(zmq_.ctx_new()), socket_(zmq_.socket(context_, type)) {
    const int none = 0;
    zmq_.setsockopt(socket_, ZMQ_LINGER, &none, sizeof(none));
    zmq_.setsockopt(socket_, ZMQ_RCVTIMEO, &kTimeoutMs, sizeof(kTimeoutMs));
    if (type == ZMQ_SUB) zmq_.setsockopt(socket_, ZMQ_SUBSCRIBE, "kv@", 3);
    EXPECT_EQ(zmq_.connect(socket_, endpoint.c_str()), 0) << endpoint;
  }
  ~Peer() {
    zmq_.close(socket_);
    zmq_.ctx_term(context_);
  }

  void Send(const Frames& frames) {
    for (size_t i = 0; i < frames.size(); ++i) {
      zmq_.send(socket_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
    }
  }
  // Empty when nothing comes in time.
  Frames Receive() {
    Frames frames;
    bool more = true;
    while (more) {
      zmq_msg_t frame;
      zmq_.msg_init(&frame);
      if (zmq_.msg_recv(&frame, socket_, 0) < 0) return {};
      frames.emplace_back(static_cast<const char*>(zmq_.msg_data(&frame)), zmq_.msg_size(&frame));
      more = zmq_.msg_more(&frame) != 0;
      zmq_.msg_close(&frame);
    }
    return frames;
  }
  // What a replay from `sequence` brings, without its end.
  std::vector<Frames> Replay(uint64_t sequence) {
    Send({"", Bytes(sequence)});
    std::vector<Frames> batches;
    while (true) {
      Frames frames = Receive();
      if (frames.empty() || !frames.front().empty()) {
        ADD_FAILURE() << "no end after " << batches.size() << " batches";
        return batches;
      }
      frames.erase(frames.begin());
      if (frames.size() == 3 && frames[2].empty()) {
        EXPECT_EQ(frames[0], "");
        EXPECT_EQ(Number(frames[1]), UINT64_MAX);
        return batches;
      }
      batches.push_back(std::move(frames));
    }
  }

 private:
  const ZmqLibrary& zmq_ = **LoadZmq();
  void* const context_;
  void* const socket_;
};

struct Fixture {
  explicit Fixture(KvEventOptions options = {.endpoint = "tcp://127.0.0.1:*",
                                             .replay = "tcp://127.0.0.1:*",
                                             .pod = "10.0.0.7:8000"})
      : publisher(EventPublisher::Create(options, &metrics).value()) {
    events = publisher->AddModel("demo", "fp", 8);
    publisher->Start();
  }
  // One block a round, each in front of prompts, so that each makes a message.
  void Store(uint64_t node) {
    events->OnStored(node, 0, 0, {static_cast<int32_t>(node), 2, 3, 4});
    EXPECT_TRUE(events->EndRound());
  }
  // Waits until the publisher has sent so many.
  bool WaitSent(double batches) {
    for (int i = 0; i < kTimeoutMs; ++i) {
      if (metrics.batches.Get().Value() >= batches) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  KvEventMetrics metrics{nullptr};
  std::unique_ptr<EventPublisher> publisher;
  engine::BlockEvents* events;
};

TEST(EventPublisherTest, MessagesHaveTopicNumberAndEvents) {
  Fixture f;
  Peer replay(ZMQ_DEALER, f.publisher->replay_endpoint());
  Peer subscriber(ZMQ_SUB, f.publisher->endpoint());
  // A subscription takes a moment to reach the publisher: until then nothing comes.
  Frames first;
  uint64_t node = 0;
  while (first.empty() && node < 1000) {
    f.Store(++node);
    ASSERT_TRUE(f.WaitSent(static_cast<double>(node)));
    Peer probe(ZMQ_DEALER, f.publisher->replay_endpoint());
    ASSERT_EQ(probe.Replay(node - 1).size(), 1u);
    if (node >= 20) first = subscriber.Receive();
  }
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0], "kv@10.0.0.7:8000@demo");
  const uint64_t sequence = Number(first[1]);
  const std::vector<Frames> replayed = replay.Replay(sequence);
  ASSERT_FALSE(replayed.empty());
  EXPECT_EQ(replayed.front(), first) << "what is replayed is what was sent";
  const Frames second = subscriber.Receive();
  ASSERT_EQ(second.size(), 3u);
  EXPECT_EQ(Number(second[1]), sequence + 1);
}

TEST(EventPublisherTest, AReplayBeginsWhereItIsAskedTo) {
  Fixture f;
  for (uint64_t node = 1; node <= 5; ++node) {
    f.Store(node);
    ASSERT_TRUE(f.WaitSent(static_cast<double>(node)));
  }
  Peer peer(ZMQ_DEALER, f.publisher->replay_endpoint());
  const auto numbers = [&](uint64_t from) {
    std::vector<uint64_t> found;
    for (const Frames& frames : peer.Replay(from)) found.push_back(Number(frames.at(1)));
    return found;
  };
  EXPECT_EQ(numbers(0), (std::vector<uint64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(numbers(3), (std::vector<uint64_t>{3, 4}));
  EXPECT_EQ(numbers(5), std::vector<uint64_t>());
  peer.Send({"", "short"});
  peer.Send({"no empty frame", Bytes(0)});
  peer.Send({Bytes(0)});
  EXPECT_EQ(numbers(4), std::vector<uint64_t>{4}) << "what is no request is passed over";
  EXPECT_EQ(f.metrics.replays.Get().Value(), 4);
}

TEST(EventPublisherTest, OldMessagesAreForgotten) {
  Fixture f({.endpoint = "tcp://127.0.0.1:*", .replay = "tcp://127.0.0.1:*", .buffer = 2});
  for (uint64_t node = 1; node <= 4; ++node) {
    f.Store(node);
    ASSERT_TRUE(f.WaitSent(static_cast<double>(node)));
  }
  Peer peer(ZMQ_DEALER, f.publisher->replay_endpoint());
  const std::vector<Frames> kept = peer.Replay(0);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(Number(kept[0][1]), 2u);
  EXPECT_THAT(kept[0][0], HasSubstr("@demo")) << "the host's name stands between";
}

TEST(EventPublisherTest, CountsWhatItPublishes) {
  Fixture f;
  f.events->OnStored(1, 0, 0, {1, 2, 3, 4});
  f.events->OnStored(2, 1, 0, {5, 6, 7, 8});
  f.events->OnRemoved(2);
  f.events->OnStored(3, 77, 0, {5, 6, 7, 8});  // behind nothing
  f.events->EndRound();
  ASSERT_TRUE(f.WaitSent(1));
  f.events->OnReset();
  f.events->EndRound();
  ASSERT_TRUE(f.WaitSent(2));
  EXPECT_EQ(f.metrics.events.At(KvEventMetrics::kStored).Value(), 2);
  EXPECT_EQ(f.metrics.events.At(KvEventMetrics::kRemoved).Value(), 1);
  EXPECT_EQ(f.metrics.events.At(KvEventMetrics::kCleared).Value(), 1);
}

TEST(EventPublisherTest, EndingSendsWhatWaits) {
  Fixture f;
  f.Store(1);
  f.publisher->Stop();
  EXPECT_EQ(f.metrics.batches.Get().Value(), 1);
  f.publisher->Stop();
}

TEST(EventPublisherTest, AnEndpointThatIsTakenIsNamed) {
  Fixture f;
  // Of another address it may be free.
  std::string taken = f.publisher->endpoint();
  taken.replace(taken.find("127.0.0.1"), 9, "*");
  KvEventMetrics metrics{nullptr};
  const auto second = EventPublisher::Create({.endpoint = taken}, &metrics);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--kv-events: cannot listen at " + taken));
  EXPECT_FALSE(EventPublisher::Create({.endpoint = "nonsense"}, &metrics).ok());
}

}  // namespace
}  // namespace hadal::kv_events
