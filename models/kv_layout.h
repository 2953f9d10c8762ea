// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace hadal::models {

// One paged cache of a model, for example the keys of all layers.
struct KvCacheSpec {
  std::string name;                   // "k", "v", "latent", "index_keys", "compressed", "window", ...
  int32_t layers = 0;                 // layers that own such a cache
  int64_t bytes_per_entry_layer = 0;  // one entry in one layer
  int32_t tokens_per_entry = 1;       // compressed caches hold one entry for that many tokens; a windowed one may keep
                                      // the rows of the newest tokens of each block instead
  bool windowed = false;              // only entries of the last KvLayout::window_tokens tokens are ever read

  bool operator==(const KvCacheSpec&) const = default;
};

// How much a model allocates for its caches. Block ids are 0..blocks-1 and, in the window pool, 0..window_blocks-1.
struct KvCacheSize {
  int32_t blocks = 0;
  int32_t block_tokens = 0;
  int32_t window_blocks = 0;  // 0 exactly when KvLayout::window_tokens is 0

  bool operator==(const KvCacheSize&) const = default;
};

// What the engine must know about a model's caches. Two pools of blocks hold them, with the same number of tokens per
// block: the full-attention KV pool, whose blocks hold their tokens' entries as long as the sequence lives, and the
// window pool, whose blocks may be reused once they are out of the window. Entry j of a cache with r tokens per entry
// lies in the block of token j * r, at offset (j * r % block_tokens) / r. Plain data.
struct KvLayout {
  std::vector<KvCacheSpec> caches;
  // > 0 when some cache is windowed: a query at position t reads windowed entries of t - window_tokens + 1 .. t.
  int32_t window_tokens = 0;

  // Of the full-attention caches, rounded up; block_bytes is exact.
  int64_t bytes_per_token() const {
    const int64_t tokens = block_tokens_multiple();
    return (block_bytes(static_cast<int32_t>(tokens)) + tokens - 1) / tokens;
  }

  // Full-attention caches, one block. `block_tokens` is a multiple of block_tokens_multiple().
  int64_t block_bytes(int32_t block_tokens) const { return BytesOf(block_tokens, false); }

  // Windowed caches, one window block.
  int64_t window_block_bytes(int32_t block_tokens) const { return BytesOf(block_tokens, true); }

  // A block holds whole entries of every cache: block_tokens must be a multiple of this.
  int32_t block_tokens_multiple() const {
    int64_t multiple = 1;
    for (const KvCacheSpec& cache : caches) {
      multiple = std::lcm(multiple, static_cast<int64_t>(std::max(cache.tokens_per_entry, 1)));
      if (multiple > std::numeric_limits<int32_t>::max()) return std::numeric_limits<int32_t>::max();
    }
    return static_cast<int32_t>(multiple);
  }

  // The least block size that holds that many tokens and whole entries.
  int32_t round_block_tokens(int32_t tokens) const {
    const int64_t multiple = block_tokens_multiple();
    return static_cast<int32_t>((tokens + multiple - 1) / multiple * multiple);
  }

  // Window blocks that one sequence holds at most while it decodes with one step in flight and the next one planned:
  // two neighbouring windows. 0 without a window.
  int64_t window_blocks_per_sequence(int32_t block_tokens) const {
    if (window_tokens == 0) return 0;
    return (int64_t{window_tokens} + block_tokens - 1) / block_tokens + 1;
  }

  // Window blocks with which that many sequences can always decode, next to prompt chunks of `max_tokens` in each of
  // the two steps that are in flight and planned.
  int64_t window_blocks_for(int32_t block_tokens, int64_t max_sequences, int64_t max_tokens) const {
    if (window_tokens == 0) return 0;
    return max_sequences * window_blocks_per_sequence(block_tokens) +
           2 * ((max_tokens + block_tokens - 1) / block_tokens);
  }

  // The two pools that fit into `bytes`: first the windows of the batch, then one full-attention block, then windows
  // for reuse (an eighth of the rest, at most as many again), and full-attention blocks of what remains. `blocks` is 0
  // when not even one fits.
  KvCacheSize Divide(int64_t bytes, int32_t block_tokens, int64_t max_sequences, int64_t max_tokens) const {
    constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
    KvCacheSize size = {.block_tokens = block_tokens};
    const int64_t needed = std::min(window_blocks_for(block_tokens, max_sequences, max_tokens), kMax);
    const int64_t window_bytes = window_block_bytes(block_tokens);
    int64_t rest = bytes - needed * window_bytes;
    size.window_blocks = static_cast<int32_t>(needed);
    if (rest <= 0) return size;
    if (const int64_t spare = rest - block_bytes(block_tokens); window_bytes > 0 && spare > 0) {
      const int64_t reusable = std::min({spare / 8 / window_bytes, needed, kMax - needed});
      size.window_blocks += static_cast<int32_t>(reusable);
      rest -= reusable * window_bytes;
    }
    size.blocks = static_cast<int32_t>(std::min(rest / std::max<int64_t>(block_bytes(block_tokens), 1), kMax));
    return size;
  }

  bool operator==(const KvLayout&) const = default;

 private:
  int64_t BytesOf(int32_t block_tokens, bool windowed) const {
    int64_t bytes = 0;
    for (const KvCacheSpec& cache : caches) {
      if (cache.windowed != windowed) continue;
      bytes += cache.layers * cache.bytes_per_entry_layer * (block_tokens / std::max(cache.tokens_per_entry, 1));
    }
    return bytes;
  }
};

}  // namespace hadal::models
