// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

namespace hadal::kv_events {

// A batch as it was sent.
struct SentBatch {
  uint64_t sequence = 0;
  std::shared_ptr<const std::string> topic;
  std::shared_ptr<const std::string> payload;
};

// The last batches, for subscribers that missed some. Bounded by number and by bytes of payload; the newest batch is
// always there. Not thread-safe.
class ReplayBuffer {
 public:
  ReplayBuffer(size_t max_batches, size_t max_bytes) : max_batches_(max_batches), max_bytes_(max_bytes) {}

  // Sequence numbers go up by one.
  void Add(SentBatch batch) {
    bytes_ += batch.payload->size();
    batches_.push_back(std::move(batch));
    while (batches_.size() > 1 && (batches_.size() > max_batches_ || bytes_ > max_bytes_)) {
      bytes_ -= batches_.front().payload->size();
      batches_.pop_front();
    }
  }

  // Index of the first batch that is not before `sequence`, in batches().
  size_t From(uint64_t sequence) const {
    if (batches_.empty() || sequence <= batches_.front().sequence) return 0;
    const uint64_t ahead = sequence - batches_.front().sequence;
    return ahead < batches_.size() ? static_cast<size_t>(ahead) : batches_.size();
  }
  const std::deque<SentBatch>& batches() const { return batches_; }

 private:
  const size_t max_batches_;
  const size_t max_bytes_;
  std::deque<SentBatch> batches_;
  size_t bytes_ = 0;
};

}  // namespace hadal::kv_events
