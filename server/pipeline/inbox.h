// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/pipeline/connection.h"

namespace hadal::pipeline {

// Receives ahead on a thread of its own: the next step and its state arrive while the one before is computed. Holds at
// most two messages that nobody has taken. Next is for one thread.
class Inbox {
 public:
  // Borrows the connection, of which nobody else receives meanwhile.
  Inbox(Connection* connection, int64_t max_bytes);
  // Ends what the connection receives.
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // As Connection::Receive: the messages in their order, then what ended them. The buffer that is given is reused.
  absl::StatusOr<MessageType> Next(std::vector<std::byte>* payload);

 private:
  struct Message {
    absl::StatusOr<MessageType> type = MessageType::kError;
    std::vector<std::byte> payload;
  };

  void ReceiveMessages();

  Connection& connection_;
  const int64_t max_bytes_;
  base::Mutex mutex_;
  base::CondVar changed_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Message> messages_ ABSL_GUARDED_BY(mutex_);  // the last may be an error, which stays
  std::vector<std::byte> spare_ ABSL_GUARDED_BY(mutex_);  // a buffer for the next one
  std::thread reader_;
};

}  // namespace hadal::pipeline
