// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/event_publisher.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/strings.h"

namespace hadal::kv_events {
namespace {

// A message is sent when it has become so large, although more events wait.
constexpr size_t kMaxBatchBytes = 256 << 10;
constexpr size_t kMaxReplayBytes = size_t{64} << 20;
constexpr uint64_t kEndOfReplay = UINT64_MAX;

std::string BigEndian(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

std::string HostName() {
  std::array<char, 256> name = {};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "hadal";
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventPublisher>> EventPublisher::Create(const KvEventOptions& options,
                                                                       KvEventMetrics* metrics) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  const absl::StatusOr<const ZmqLibrary*> zmq = LoadZmq();
  if (!zmq.ok()) return zmq.status();
  std::unique_ptr<EventPublisher> publisher(new EventPublisher(options, *zmq, metrics));
  if (absl::Status status = publisher->OpenSockets(); !status.ok()) return status;
  return publisher;
}

EventPublisher::EventPublisher(const KvEventOptions& options, const ZmqLibrary* zmq, KvEventMetrics* metrics)
    : options_(options), zmq_(zmq), metrics_(metrics), sent_(static_cast<size_t>(options.buffer), kMaxReplayBytes) {}

EventPublisher::~EventPublisher() {
  Stop();
  if (publish_ != nullptr) zmq_->close(publish_);
  if (replay_ != nullptr) zmq_->close(replay_);
  if (context_ != nullptr) zmq_->ctx_term(context_);
  if (wake_ >= 0) ::close(wake_);
}

absl::Status EventPublisher::OpenSockets() {
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) return absl::ResourceExhaustedError("--kv-events: no file descriptor is left");
  context_ = zmq_->ctx_new();
  absl::StatusOr<void*> socket = OpenSocket(ZMQ_PUB, "--kv-events", options_.endpoint, kSendLimit, &endpoint_);
  if (!socket.ok()) return socket.status();
  publish_ = *socket;
  if (options_.replay.empty()) return absl::OkStatus();
  // A whole replay fits, and the beginning of the next.
  socket = OpenSocket(ZMQ_ROUTER, "--kv-events-replay", options_.replay, 2 * (options_.buffer + 1), &replay_endpoint_);
  if (!socket.ok()) return socket.status();
  replay_ = *socket;
  // A peer that is gone ends its replay instead of swallowing it.
  const int mandatory = 1;
  zmq_->setsockopt(replay_, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
  return absl::OkStatus();
}

absl::StatusOr<void*> EventPublisher::OpenSocket(int type, std::string_view flag, const std::string& endpoint,
                                                 int send_limit, std::string* opened) {
  void* const socket = zmq_->socket(context_, type);
  if (socket == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(base::View(flag), ": ", zmq_->LastError()));
  }
  const int on = 1, off = 0;
  zmq_->setsockopt(socket, ZMQ_LINGER, &off, sizeof(off));
  zmq_->setsockopt(socket, ZMQ_IPV6, &on, sizeof(on));
  zmq_->setsockopt(socket, ZMQ_SNDHWM, &send_limit, sizeof(send_limit));
  const bool bind = IsBindEndpoint(endpoint);
  if ((bind ? zmq_->bind(socket, endpoint.c_str()) : zmq_->connect(socket, endpoint.c_str())) != 0) {
    const std::string error = zmq_->LastError();
    zmq_->close(socket);
    return absl::UnavailableError(
        absl::StrCat(base::View(flag), ": cannot ", bind ? "listen at " : "connect to ", endpoint, ": ", error));
  }
  std::array<char, 1024> name = {};
  size_t size = name.size();
  *opened = zmq_->getsockopt(socket, ZMQ_LAST_ENDPOINT, name.data(), &size) == 0 ? name.data() : endpoint;
  return socket;
}

engine::BlockEvents* EventPublisher::AddModel(std::string_view name, std::string_view fingerprint, int32_t num_blocks) {
  const std::string pod = options_.pod.empty() ? HostName() : options_.pod;
  auto queue = std::make_unique<BlockEventQueue>(
      2 * static_cast<size_t>(num_blocks) + 1024, [this] { Wake(); },
      [this] { metrics_->overflows.Get().Increment(); });
  auto topic = std::make_shared<const std::string>(absl::StrCat("kv@", pod, "@", base::View(name)));
  models_.push_back(std::make_unique<Model>(Model{std::move(topic), std::move(queue), BlockHashes(fingerprint)}));
  return models_.back()->queue.get();
}

void EventPublisher::Start() {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "kv_events");
}

void EventPublisher::Stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  Wake();
  thread_.join();
}

void EventPublisher::Wake() {
  const uint64_t one = 1;
  // Full is as good: it is readable then.
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
}

void EventPublisher::Run() {
  while (true) {
    const bool stopping = stop_.load(std::memory_order_acquire);
    for (const auto& model : models_) Publish(*model);
    if (stopping) return;
    std::array<zmq_pollitem_t, 2> items = {{{nullptr, wake_, ZMQ_POLLIN, 0}, {replay_, 0, ZMQ_POLLIN, 0}}};
    if (zmq_->poll(items.data(), replay_ != nullptr ? 2 : 1, /*timeout=*/-1) < 0) continue;  // a signal
    uint64_t wakes;
    [[maybe_unused]] const ssize_t read = ::read(wake_, &wakes, sizeof(wakes));
    if (replay_ != nullptr && (items[1].revents & ZMQ_POLLIN) != 0) AnswerReplay();
  }
}

void EventPublisher::Publish(Model& model) {
  const BlockEventList list = model.queue->Take();
  absl::Span<const int32_t> tokens = list.tokens;
  for (const BlockEventList::Event& event : list.events) {
    switch (event.kind) {
      case BlockEventList::Kind::kStored: {
        const absl::Span<const int32_t> own = tokens.subspan(0, event.tokens);
        tokens.remove_prefix(event.tokens);
        const auto stored = model.hashes.Add(event.node, event.parent, event.salt, own);
        if (!stored.has_value()) break;
        batch_.Stored(stored->hash, stored->parent, own, event.salt == 0 ? "" : salt_names_.Find(event.salt));
        metrics_->events.At(KvEventMetrics::kStored).Increment();
        break;
      }
      case BlockEventList::Kind::kRemoved:
        if (const std::optional<uint64_t> hash = model.hashes.Remove(event.node); hash.has_value()) {
          batch_.Removed(*hash);
          metrics_->events.At(KvEventMetrics::kRemoved).Increment();
        }
        break;
      case BlockEventList::Kind::kReset:
        model.hashes.Clear();
        batch_.Cleared();
        metrics_->events.At(KvEventMetrics::kCleared).Increment();
        break;
    }
    if (batch_.bytes() > kMaxBatchBytes) Send(model);
  }
  if (!batch_.empty()) Send(model);
}

void EventPublisher::Send(const Model& model) {
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  const SentBatch batch = {next_sequence_++, model.topic, std::make_shared<const std::string>(batch_.Finish(now))};
  // A PUB socket never blocks: what a subscriber has no room for is dropped.
  if (SendFrame(publish_, *batch.topic, true) && SendFrame(publish_, BigEndian(batch.sequence), true)) {
    SendShared(publish_, batch.payload, false);
  }
  metrics_->batches.Get().Increment();
  sent_.Add(batch);
}

// A request is three frames: who asks, an empty one, and the first sequence number that is wanted.
void EventPublisher::AnswerReplay() {
  std::vector<std::string> request;
  bool more = true;
  while (more) {
    zmq_msg_t frame;
    zmq_->msg_init(&frame);
    if (zmq_->msg_recv(&frame, replay_, ZMQ_DONTWAIT) < 0) return;
    request.emplace_back(static_cast<const char*>(zmq_->msg_data(&frame)), zmq_->msg_size(&frame));
    more = zmq_->msg_more(&frame) != 0;
    zmq_->msg_close(&frame);
  }
  if (request.size() != 3 || !request[1].empty() || request[2].size() != sizeof(uint64_t)) return;
  metrics_->replays.Get().Increment();
  uint64_t from = 0;
  for (const char byte : request[2]) from = from << 8 | static_cast<uint8_t>(byte);
  const std::string& peer = request[0];
  const auto& batches = sent_.batches();
  for (size_t i = sent_.From(from); i < batches.size(); ++i) {
    const SentBatch& batch = batches[i];
    if (!SendFrame(replay_, peer, true)) return;
    if (!SendFrame(replay_, "", true) || !SendFrame(replay_, *batch.topic, true) ||
        !SendFrame(replay_, BigEndian(batch.sequence), true) || !SendShared(replay_, batch.payload, false)) {
      return;
    }
  }
  if (SendFrame(replay_, peer, true) && SendFrame(replay_, "", true) && SendFrame(replay_, "", true) &&
      SendFrame(replay_, BigEndian(kEndOfReplay), true)) {
    SendFrame(replay_, "", false);
  }
}

bool EventPublisher::SendFrame(void* socket, std::string_view bytes, bool more) {
  return zmq_->send(socket, bytes.data(), bytes.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
}

bool EventPublisher::SendShared(void* socket, const std::shared_ptr<const std::string>& bytes, bool more) {
  using Held = std::shared_ptr<const std::string>;
  zmq_msg_t frame;
  // Not written to: the library takes every message's memory as its own.
  zmq_->msg_init_data(
      &frame, const_cast<char*>(bytes->data()), bytes->size(),
      [](void*, void* held) { delete static_cast<Held*>(held); }, new Held(bytes));
  if (zmq_->msg_send(&frame, socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0) return true;
  zmq_->msg_close(&frame);
  return false;
}

}  // namespace hadal::kv_events
