// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/cuda/launch.h"
#include "kernels/ops/sample.h"

namespace hadal::kernels::cuda {

// The rows of a sample call as the device reads them: fixed records, and one list for all tokens and all mask words.
// Keeps its memory between calls. Not thread-safe.
class SampleRows {
 public:
  // Row parameters must have passed CheckSample.
  void Build(absl::Span<const SampleRowParams> rows, int64_t vocab);

  const std::vector<SampleRow>& rows() const { return rows_; }
  const std::vector<SampleToken>& tokens() const { return tokens_; }
  const std::vector<uint32_t>& mask_words() const { return mask_words_; }

 private:
  // True the second time that an id is given within one list.
  bool Repeated(int32_t id);

  std::vector<SampleRow> rows_;
  std::vector<SampleToken> tokens_;
  std::vector<uint32_t> mask_words_;
  std::vector<uint32_t> seen_in_;  // for each id the number of the last list that held it
  uint32_t list_ = 0;
};

}  // namespace hadal::kernels::cuda
