// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/checkpoint/decode.h"
#include "models/checkpoint/weight_sources.h"

namespace hadal::checkpoint {

// What of a tensor one thread converts at once, and one copy brings to the device: so much memory of the host it takes.
// Small enough that all threads of a loader fill chunks while as many are being copied (CudaDevice's ring of 32 MiB).
inline constexpr int64_t kChunkBytes = int64_t{2} << 20;

struct WeightChunk {
  const WeightPiece* piece = nullptr;
  MatrixPart part;          // of the piece's source
  bool transposed = false;  // written as [columns, rows]
  int64_t target = 0;       // where its values go, end to end, in values from the start of the result
};

// Chunks of at most kChunkBytes, of values of `value_bytes`, that cover the assembly in its order: whole rows, or parts
// of a row that is larger. They refer to the assembly.
std::vector<WeightChunk> CutRows(const WeightAssembly& assembly, int64_t value_bytes);

// The same for a result in which each piece is transposed, [pieces, columns, rows of a piece]. Two columns of a piece
// are one chunk, whatever their size.
std::vector<WeightChunk> CutTransposed(const WeightAssembly& assembly, int64_t value_bytes);

}  // namespace hadal::checkpoint
