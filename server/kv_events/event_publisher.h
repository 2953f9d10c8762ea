// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/block_events.h"
#include "server/kv_events/block_event_queue.h"
#include "server/kv_events/block_hashes.h"
#include "server/kv_events/event_batch.h"
#include "server/kv_events/kv_event_metrics.h"
#include "server/kv_events/kv_event_options.h"
#include "server/kv_events/replay_buffer.h"
#include "server/kv_events/salt_names.h"
#include "server/kv_events/zmq_library.h"

namespace hadal::kv_events {

// Publishes which prompt prefixes this replica has in its prefix caches, over ZeroMQ as vLLM does: a PUB socket with
// messages of three frames (topic, sequence number of 8 bytes, event_batch.h's bytes), and a ROUTER socket that
// answers an 8-byte sequence number with everything kept from there on, each as (topic, number, bytes), and an end
// (empty, 2^64 - 1, empty). Topics are kv@POD@MODEL; numbers begin at 0 and go up by one over all models.
//
// Encoding and sending happen on a separate thread, so an engine's round only copies its events. A subscriber that does
// not read holds at most kSendLimit messages, which share their bytes with all others.
class EventPublisher {
 public:
  // Messages that wait for one subscriber; beyond them it misses some, sees it by their numbers, and asks for a replay.
  static constexpr int kSendLimit = 1'000;

  // Opens the sockets; the error names the flag and the endpoint. `metrics` outlives it.
  static absl::StatusOr<std::unique_ptr<EventPublisher>> Create(const KvEventOptions& options, KvEventMetrics* metrics);
  ~EventPublisher();  // Stop()

  // What the engine of a model with so many KV blocks is to tell; owned by the publisher. Before Start.
  engine::BlockEvents* AddModel(std::string_view name, std::string_view fingerprint, int32_t num_blocks);
  // From now on first blocks with this salt are told with the `cache_salt` that it stands for, so that routers which
  // go by token ids tell them apart. Thread-safe.
  void NameSalt(uint64_t salt, const std::string& cache_salt) { salt_names_.Remember(salt, cache_salt); }
  void Start();
  // Publishes what waits and ends the thread. The engines must have stopped. Idempotent.
  void Stop();

  // Where it listens, or what it connects to; with the port that was picked.
  const std::string& endpoint() const { return endpoint_; }
  const std::string& replay_endpoint() const { return replay_endpoint_; }

 private:
  struct Model {
    std::shared_ptr<const std::string> topic;
    std::unique_ptr<BlockEventQueue> queue;
    BlockHashes hashes;
  };

  EventPublisher(const KvEventOptions& options, const ZmqLibrary* zmq, KvEventMetrics* metrics);
  absl::Status OpenSockets();
  absl::StatusOr<void*> OpenSocket(int type, std::string_view flag, const std::string& endpoint, int send_limit,
                                   std::string* opened);
  void Wake();
  void Run();
  void Publish(Model& model);
  void Send(const Model& model);
  void AnswerReplay();
  // One frame of a message; false when the socket does not take it now, or its peer is gone.
  bool SendFrame(void* socket, std::string_view bytes, bool more);
  bool SendShared(void* socket, const std::shared_ptr<const std::string>& bytes, bool more);

  const KvEventOptions options_;
  const ZmqLibrary* const zmq_;
  KvEventMetrics* const metrics_;
  std::string endpoint_, replay_endpoint_;

  void* context_ = nullptr;
  void* publish_ = nullptr;  // PUB
  void* replay_ = nullptr;   // ROUTER, or null
  int wake_ = -1;            // eventfd

  std::vector<std::unique_ptr<Model>> models_;
  SaltNames salt_names_;
  ReplayBuffer sent_;
  EventBatch batch_;
  uint64_t next_sequence_ = 0;

  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace hadal::kv_events
