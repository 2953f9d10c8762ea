// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace hadal::checkpoint {
namespace {

WeightAssembly AssemblyOf(int64_t columns, const std::vector<std::pair<int64_t, int64_t>>& ranges) {
  WeightAssembly assembly;
  assembly.columns = columns;
  for (const auto& [begin, count] : ranges) {
    auto source = std::make_shared<WeightSource>();
    source->matrix.columns = columns;
    source->matrix.rows = begin + count;
    assembly.pieces.push_back({source, begin, count});
    assembly.rows += count;
  }
  return assembly;
}

// Every value of every piece once and in order, none larger than a chunk.
void ExpectCovered(const WeightAssembly& assembly, const std::vector<WeightChunk>& chunks, int64_t value_bytes) {
  int64_t target = 0;
  for (const WeightChunk& chunk : chunks) {
    EXPECT_EQ(chunk.target, target);
    EXPECT_LE(chunk.part.values() * value_bytes, kChunkBytes);
    EXPECT_EQ(chunk.part.column % 2, 0);
    EXPECT_GE(chunk.part.row, chunk.piece->begin);
    EXPECT_LE(chunk.part.row + chunk.part.rows, chunk.piece->begin + chunk.piece->count);
    EXPECT_LE(chunk.part.column + chunk.part.columns, assembly.columns);
    target += chunk.part.values();
  }
  EXPECT_EQ(target, assembly.rows * assembly.columns);
}

TEST(WeightChunksTest, CoverWholeRowsWhereTheyFit) {
  const WeightAssembly assembly = AssemblyOf(1000, {{5, 2000}, {0, 0}, {7, 3}});
  const std::vector<WeightChunk> chunks = CutRows(assembly, 2);
  ExpectCovered(assembly, chunks, 2);
  ASSERT_EQ(chunks.size(), 3u);  // 1,048 rows fit into one
  EXPECT_EQ(chunks[0].part.row, 5);
  EXPECT_EQ(chunks[0].part.rows, kChunkBytes / 2000);
  EXPECT_EQ(chunks[2].piece, &assembly.pieces[2]);
}

TEST(WeightChunksTest, CutLongRows) {
  const WeightAssembly assembly = AssemblyOf(kChunkBytes + 1, {{1, 2}});
  const std::vector<WeightChunk> chunks = CutRows(assembly, 4);
  ExpectCovered(assembly, chunks, 4);
  EXPECT_EQ(chunks.size(), 10u);
  EXPECT_TRUE(CutRows(AssemblyOf(0, {{0, 4}}), 4).empty());
}

TEST(WeightChunksTest, TransposeColumnsOfEachPiece) {
  const WeightAssembly assembly = AssemblyOf(16384, {{0, 128}, {256, 128}});
  const std::vector<WeightChunk> chunks = CutTransposed(assembly, 2);
  ExpectCovered(assembly, chunks, 2);
  ASSERT_EQ(chunks.size(), 4u);
  EXPECT_EQ(chunks[1].part.column, 8192);
  EXPECT_EQ(chunks[2].part.row, 256);
  EXPECT_TRUE(chunks[2].transposed);
}

}  // namespace
}  // namespace hadal::checkpoint
