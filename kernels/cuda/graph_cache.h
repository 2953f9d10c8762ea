// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

// CUDA graphs: sequences of launches that are recorded once and replayed. The first time that a key comes, its
// sequence is issued as it is, which loads its kernels and chooses its algorithms; the second time it is recorded; from
// then on one call replays it. A sequence that cannot be recorded is issued each time. Keeps the most recently used
// ones. Used by the thread that issues ops; its stream must be idle when it dies.
class GraphCache {
 public:
  static constexpr size_t kMaxGraphs = 32;
  // What a graph of some hundred launches may take on the device, outside all buffers.
  static constexpr int64_t kGraphBytes = int64_t{1} << 20;

  using Key = std::vector<int64_t>;

  GraphCache() = default;
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  enum class Turn { kIssue, kRecord, kReplay };
  // What the key's turn is now.
  Turn Next(const Key& key);
  // Records what `issue` issues on the stream, of the key that Next has said it for. The status is that of `issue`, or
  // Unavailable: it could not be recorded, nothing has run, and the key's turn is kIssue from now on.
  absl::Status Record(Stream stream, absl::FunctionRef<absl::Status()> issue);
  // Replays the key that Next has said it for.
  absl::Status Replay(Stream stream);

 private:
  struct Entry {
    Key key;
    bool refused = false;
    void* graph = nullptr;  // a cudaGraphExec_t; null before it was recorded
  };

  std::list<Entry> entries_;  // the most recently used first
};

}  // namespace hadal::kernels::cuda
