// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/linear.h"
#include "models/blocks/norm.h"
#include "models/blocks/rope_cache.h"
#include "models/families/deepseek_v4/entry_plan.h"

namespace hadal::models {

// Pools groups of tokens into cached entries (arXiv:2606.19348, section 2.3): values and gates of the newest tokens are
// kept in a windowed cache; when a group is complete its entry is pooled from them, normalised, rotated to the position
// of its first token and kept. Checkpoint names: `name`.wkv, wgate, ape, norm. Immutable once loaded.
class V4Compressor {
 public:
  struct Shape {
    int64_t ratio = 0;         // tokens that make an entry
    int64_t width = 0;         // values of an entry
    int64_t rotated = 0;       // of them, the last
    bool overlapping = false;  // entries pool the group before theirs as well (CSA)
  };

  static absl::StatusOr<V4Compressor> Load(const LoadContext& context, const std::string& name, const Shape& shape,
                                           std::shared_ptr<const RopeCache> rope);

  // What Forward works on in one layer.
  struct Target {
    const EntryBatch& entries;           // of this step
    kernels::TensorView inputs;          // windowed cache [blocks, rows of a block, 2, channels], written
    const kernels::RaggedBatch& window;  // of this step, with the block tables of `inputs`
    kernels::TensorView input_slots;     // i64 [tokens] where this step's values and gates go; -1: nowhere
    kernels::TensorView cache;           // [blocks, entries of a block, 1, width], written
  };

  // x [tokens, hidden].
  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x, const Target& target) const;

 private:
  // Pools, normalises, rotates and keeps the entries; rows [tokens, 2, channels] are this step's values and gates.
  absl::Status MakeEntries(const ForwardContext& context, const kernels::TensorView& rows, const Target& target) const;

  static int64_t Channels(const Shape& shape) { return shape.overlapping ? 2 * shape.width : shape.width; }

  Shape shape_;
  kernels::DType dtype_ = kernels::DType::kBF16;
  MergedLinear value_gate_;
  checkpoint::LoadedTensor position_bias_;  // f32 [ratio, channels]
  RmsNorm norm_;
  std::shared_ptr<const RopeCache> rope_;
};

}  // namespace hadal::models
