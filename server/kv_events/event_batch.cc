// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/event_batch.h"

#include <utility>

#include "server/kv_events/msgpack_writer.h"

namespace hadal::kv_events {
namespace {

// The first tier of a cache, whatever the device: there is no other.
constexpr std::string_view kMedium = "GPU";
constexpr uint64_t kDataParallelRank = 0;

}  // namespace

void EventBatch::Stored(uint64_t hash, std::optional<uint64_t> parent, absl::Span<const int32_t> tokens,
                        std::string_view salt) {
  const bool goes_on =
      open_ == Open::kStored && parent.has_value() && *parent == hashes_.back() && tokens.size() == block_tokens_;
  if (!goes_on) {
    Close();
    open_ = Open::kStored;
    parent_ = parent;
    salt_ = salt;
    block_tokens_ = tokens.size();
  }
  hashes_.push_back(hash);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void EventBatch::Removed(uint64_t hash) {
  if (open_ != Open::kRemoved) Close();
  open_ = Open::kRemoved;
  hashes_.push_back(hash);
}

void EventBatch::Cleared() {
  Close();
  MsgpackWriter writer(&encoded_);
  writer.Array(1);
  writer.String("AllBlocksCleared");
  ++events_;
}

void EventBatch::Close() {
  if (open_ == Open::kNone) return;
  const bool stored = open_ == Open::kStored;
  MsgpackWriter writer(&encoded_);
  const bool salted = stored && !salt_.empty();
  writer.Array(salted ? 9 : stored ? 7 : 3);
  writer.String(stored ? "BlockStored" : "BlockRemoved");
  writer.Array(hashes_.size());
  for (const uint64_t hash : hashes_) writer.Uint(hash);
  if (stored) {
    parent_.has_value() ? writer.Uint(*parent_) : writer.Nil();
    writer.Array(tokens_.size());
    for (const int32_t token : tokens_) writer.Uint(static_cast<uint32_t>(token));
    writer.Uint(block_tokens_);
    writer.Nil();  // lora_id
  }
  writer.String(kMedium);
  if (salted) {
    writer.Nil();  // lora_name
    // Extra keys of each block; all behind the first are told apart by their parent.
    writer.Array(hashes_.size());
    writer.Array(1);
    writer.String(salt_);
    for (size_t i = 1; i < hashes_.size(); ++i) writer.Nil();
  }
  ++events_;
  open_ = Open::kNone;
  hashes_.clear();
  tokens_.clear();
}

std::string EventBatch::Finish(double unix_seconds) {
  Close();
  std::string message;
  message.reserve(encoded_.size() + 16);
  MsgpackWriter writer(&message);
  writer.Array(3);
  writer.Double(unix_seconds);
  writer.Array(events_);
  message += encoded_;
  writer.Uint(kDataParallelRank);
  encoded_.clear();
  events_ = 0;
  return message;
}

}  // namespace hadal::kv_events
