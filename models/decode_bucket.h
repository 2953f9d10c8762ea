// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace hadal::models {

// The size that a decode step of `sequences` is padded to where steps are replayed: the next of 1, 2, 4, 8, 16, 24, 32
// and so on, so that few recorded steps serve all sizes. With `experts` it is exact up to 8: there the padding's rows
// would make a step of three read a quarter more experts; from 9 on it is a fifteenth at most, and falls.
inline int32_t DecodeBucket(int32_t sequences, bool experts) {
  constexpr int32_t kStep = 8;
  if (sequences > kStep) return (sequences + kStep - 1) / kStep * kStep;
  return experts ? sequences : static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(sequences)));
}

// The columns that block tables of `columns` are widened to where steps are replayed: 16, 64, 256 and so on, since a
// recorded step has one width, and there are as many of it as there are widths in use. What is added is uploaded and
// never read: 4 bytes a column of each sequence.
inline int64_t TableBucket(int64_t columns) {
  int64_t bucket = 16;
  while (bucket < columns) bucket *= 4;
  return bucket;
}

}  // namespace hadal::models
