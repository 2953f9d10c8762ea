// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/block_hashes.h"

#include <openssl/sha.h>

namespace hadal::kv_events {
namespace {

void AppendBigEndian(uint64_t value, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void AppendToken(int32_t token, std::string* out) {
  const auto value = static_cast<uint32_t>(token);
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(value >> shift));
}

uint64_t Hash(const std::string& bytes) {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), digest);
  uint64_t hash = 0;
  for (int i = 0; i < 8; ++i) hash = hash << 8 | digest[i];
  return hash;
}

}  // namespace

uint64_t BlockHashes::Root(uint64_t salt) const {
  std::string bytes = "hadal kv 1" + fingerprint_;
  AppendBigEndian(salt, &bytes);
  return Hash(bytes);
}

std::optional<BlockHashes::Stored> BlockHashes::Add(uint64_t node, uint64_t parent, uint64_t salt,
                                                    absl::Span<const int32_t> tokens) {
  Stored stored;
  if (parent != 0) {
    const auto known = by_node_.find(parent);
    if (known == by_node_.end()) return std::nullopt;
    stored.parent = known->second;
  }
  std::string bytes;
  bytes.reserve(8 + 4 * tokens.size());
  AppendBigEndian(stored.parent.has_value() ? *stored.parent : Root(salt), &bytes);
  for (const int32_t token : tokens) AppendToken(token, &bytes);
  stored.hash = Hash(bytes);
  by_node_[node] = stored.hash;
  if (++copies_[stored.hash] > 1) return std::nullopt;
  return stored;
}

std::optional<uint64_t> BlockHashes::Remove(uint64_t node) {
  const auto known = by_node_.find(node);
  if (known == by_node_.end()) return std::nullopt;
  const uint64_t hash = known->second;
  by_node_.erase(known);
  const auto copies = copies_.find(hash);
  if (--copies->second > 0) return std::nullopt;
  copies_.erase(copies);
  return hash;
}

void BlockHashes::Clear() {
  by_node_.clear();
  copies_.clear();
}

}  // namespace hadal::kv_events
