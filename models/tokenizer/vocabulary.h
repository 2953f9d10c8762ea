// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::tokenizer {

// Tokens by id and by their bytes. Filled by the loader, immutable and thread-safe afterwards; owns all token bytes.
class Vocabulary {
 public:
  static constexpr uint8_t kAdded = 1;
  static constexpr uint8_t kSpecial = 2;
  static constexpr uint8_t kControl = 4;

  void Reserve(size_t tokens, size_t bytes);

  // Adds a token. False when the id is taken. `searchable`: Find gives it, and false is returned when those bytes are
  // known.
  bool Add(int32_t id, std::string_view bytes, bool searchable);
  // Marks an existing token.
  void SetFlags(int32_t id, uint8_t flags) { entries_[static_cast<size_t>(id)].flags |= flags; }

  // Id of a searchable token, or -1.
  int32_t Find(std::string_view bytes) const;

  bool IsValid(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < entries_.size() && entries_[id].present;
  }
  std::string_view Bytes(int32_t id) const {
    return IsValid(id) ? std::string_view(arena_).substr(entries_[id].begin, entries_[id].size) : std::string_view();
  }
  bool HasFlag(int32_t id, uint8_t flag) const { return IsValid(id) && (entries_[id].flags & flag) != 0; }
  // Highest id + 1.
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }

 private:
  struct Entry {
    uint32_t begin = 0;
    uint32_t size = 0;
    uint8_t flags = 0;
    bool present = false;
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
  };

  void Grow(size_t slots);

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  size_t searchable_ = 0;
};

}  // namespace hadal::tokenizer
