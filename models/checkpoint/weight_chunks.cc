// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_chunks.h"

#include <algorithm>

namespace hadal::checkpoint {
namespace {

// Of so many bytes each, as many as fill a chunk. An even number: packed FP4 holds two values a byte.
int64_t EvenCount(int64_t bytes_each) {
  return std::max<int64_t>(2, kChunkBytes / std::max<int64_t>(bytes_each, 1) / 2 * 2);
}

}  // namespace

std::vector<WeightChunk> CutRows(const WeightAssembly& assembly, int64_t value_bytes) {
  const int64_t columns = assembly.columns, row_bytes = columns * value_bytes;
  const int64_t rows_at_once = std::max<int64_t>(1, kChunkBytes / std::max<int64_t>(row_bytes, 1));
  const int64_t columns_at_once = row_bytes <= kChunkBytes ? columns : EvenCount(value_bytes);
  std::vector<WeightChunk> chunks;
  int64_t target = 0;
  for (const WeightPiece& piece : assembly.pieces) {
    const int64_t end = piece.begin + piece.count;
    for (int64_t row = piece.begin; row < end && columns > 0; row += rows_at_once) {
      for (int64_t column = 0; column < columns; column += columns_at_once) {
        WeightChunk& chunk = chunks.emplace_back();
        chunk.piece = &piece;
        chunk.part = {row, std::min(rows_at_once, end - row), column, std::min(columns_at_once, columns - column)};
        chunk.target = target;
        target += chunk.part.values();
      }
    }
  }
  return chunks;
}

std::vector<WeightChunk> CutTransposed(const WeightAssembly& assembly, int64_t value_bytes) {
  std::vector<WeightChunk> chunks;
  int64_t target = 0;
  for (const WeightPiece& piece : assembly.pieces) {
    if (piece.count == 0) continue;
    const int64_t columns_at_once = EvenCount(piece.count * value_bytes);
    for (int64_t column = 0; column < assembly.columns; column += columns_at_once) {
      WeightChunk& chunk = chunks.emplace_back();
      chunk.piece = &piece;
      chunk.part = {piece.begin, piece.count, column, std::min(columns_at_once, assembly.columns - column)};
      chunk.transposed = true;
      chunk.target = target;
      target += chunk.part.values();
    }
  }
  return chunks;
}

}  // namespace hadal::checkpoint
