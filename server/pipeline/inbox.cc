// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/inbox.h"

#include <utility>

#include "absl/time/time.h"

namespace hadal::pipeline {
namespace {

constexpr size_t kAhead = 2;

}  // namespace

Inbox::Inbox(Connection* connection, int64_t max_bytes)
    : connection_(*connection), max_bytes_(max_bytes), reader_([this] { ReceiveMessages(); }) {}

Inbox::~Inbox() {
  {
    base::MutexLock lock(&mutex_);
    closing_ = true;
  }
  changed_.NotifyAll();
  connection_.ShutDownReceiving();
  reader_.join();
}

void Inbox::ReceiveMessages() {
  while (true) {
    Message message;
    {
      base::MutexLock lock(&mutex_);
      while (messages_.size() == kAhead && !closing_) changed_.Wait(&mutex_);
      if (closing_) return;
      message.payload = std::exchange(spare_, {});
    }
    message.type = connection_.Receive(max_bytes_, &message.payload);
    const bool last = !message.type.ok();
    {
      base::MutexLock lock(&mutex_);
      messages_.push_back(std::move(message));
    }
    changed_.NotifyAll();
    if (last) return;
  }
}

absl::StatusOr<MessageType> Inbox::Next(std::vector<std::byte>* payload) {
  base::MutexLock lock(&mutex_);
  spare_ = std::move(*payload);
  payload->clear();
  while (messages_.empty()) changed_.Wait(&mutex_);
  const absl::StatusOr<MessageType> type = messages_.front().type;
  if (!type.ok()) return type;
  *payload = std::move(messages_.front().payload);
  messages_.pop_front();
  changed_.NotifyAll();
  return type;
}

}  // namespace hadal::pipeline
