// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/types/span.h"

namespace hadal::kv_events {

// The names under which the blocks of one model are published: 64-bit hashes of what they hold and of everything before
// it, so that they are the same in every replica of the model, and in every run.
//
//   root  = H("hadal kv 1" ++ fingerprint of the model ++ salt)
//   block = H(hash of the block before it, or root ++ its tokens)
//
// H is the first 8 bytes of SHA-256, read most significant first; hashes and salt are 8 bytes, most significant first,
// tokens 4 bytes each, least significant first. The salt, 0 for most prompts, separates tenants and users. It is drawn
// anew in each process. Not thread-safe.
class BlockHashes {
 public:
  explicit BlockHashes(std::string_view fingerprint) : fingerprint_(fingerprint) {}

  struct Stored {
    uint64_t hash = 0;
    std::optional<uint64_t> parent;  // none: the first block of prompts
  };
  // Names a block; arguments as engine::BlockEvents::OnStored. nullopt when there is nothing to publish: the block's
  // parent has left the cache, so that no prompt finds it, or another block with the same name is stored.
  std::optional<Stored> Add(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens);
  // The name of a block that is stored no more; nullopt while another block has it, or where Add gave it none.
  std::optional<uint64_t> Remove(uint64_t node);
  void Clear();

  size_t size() const { return by_node_.size(); }

 private:
  uint64_t Root(uint64_t salt) const;

  const std::string fingerprint_;
  std::unordered_map<uint64_t, uint64_t> by_node_;
  std::unordered_map<uint64_t, int32_t> copies_;  // by hash
};

}  // namespace hadal::kv_events
