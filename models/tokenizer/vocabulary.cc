// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/vocabulary.h"

#include <bit>
#include <cstring>
#include <utility>

namespace hadal::tokenizer {
namespace {

// Multiply-fold over 8-byte words. The table never grows with user text, so collisions cannot be provoked beyond its
// own.
uint32_t HashBytes(std::string_view bytes) {
  uint64_t h = bytes.size() * 0x9E3779B97F4A7C15ull;
  const char* p = bytes.data();
  size_t left = bytes.size();
  const auto mix = [&h](uint64_t word) {
    h = (h ^ word) * 0xD6E8FEB86659FD93ull;
    h ^= h >> 32;
  };
  while (left >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    mix(word);
    p += 8;
    left -= 8;
  }
  if (left >= 4) {
    uint32_t low, high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + left - 4, 4);
    mix(uint64_t{high} << 32 | low);
  } else if (left > 0) {
    const auto* b = reinterpret_cast<const unsigned char*>(p);
    mix(uint64_t{b[0]} << 16 | uint64_t{b[left / 2]} << 8 | b[left - 1]);
  }
  h *= 0xD6E8FEB86659FD93ull;
  return static_cast<uint32_t>(h >> 32);
}

}  // namespace

void Vocabulary::Reserve(size_t tokens, size_t bytes) {
  arena_.reserve(bytes);
  entries_.reserve(tokens);
  Grow(std::bit_ceil(tokens * 2 + 2));
}

void Vocabulary::Grow(size_t slots) {
  if (slots <= slots_.size()) return;
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots));
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    size_t i = slot.hash & (slots_.size() - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = slot;
  }
}

bool Vocabulary::Add(int32_t id, std::string_view bytes, bool searchable) {
  if (IsValid(id)) return false;
  if (searchable) {
    if (Find(bytes) >= 0) return false;
    if ((searchable_ + 1) * 2 > slots_.size()) Grow(std::bit_ceil((searchable_ + 1) * 4));
    const uint32_t hash = HashBytes(bytes);
    size_t i = hash & (slots_.size() - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {hash, id};
    ++searchable_;
  }
  if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(bytes.size()), 0, true};
  arena_.append(bytes);
  return true;
}

int32_t Vocabulary::Find(std::string_view bytes) const {
  if (slots_.empty()) return -1;
  const uint32_t hash = HashBytes(bytes);
  for (size_t i = hash & (slots_.size() - 1); slots_[i].id >= 0; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].hash != hash) continue;
    const Entry& entry = entries_[slots_[i].id];
    if (entry.size == bytes.size() && std::memcmp(arena_.data() + entry.begin, bytes.data(), bytes.size()) == 0)
      return slots_[i].id;
  }
  return -1;
}

}  // namespace hadal::tokenizer
