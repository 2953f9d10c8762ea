// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "server/batches/batch_types.h"

namespace hadal::batches {

// Splits a batch's input, passed in pieces of any size, into lines with their positions and errors. Empty lines are
// counted and skipped. Not thread-safe.
class InputReader {
 public:
  struct Limits {
    int64_t lines = 0;       // requests in the batch
    int64_t line_bytes = 0;  // of one line
  };
  // More errors are not collected, and nothing is read behind the last one.
  static constexpr size_t kMaxErrors = 50;

  InputReader(std::string endpoint, const Limits& limits) : endpoint_(std::move(endpoint)), limits_(limits) {}

  // The next bytes; `end`: they are the last. Valid lines are appended to `lines`.
  void Feed(std::string_view bytes, bool end, std::vector<WaitingLine>* lines);
  // Something that only the whole shows, as a repeated custom_id.
  void Fail(BatchError error);

  const std::vector<BatchError>& errors() const { return errors_; }
  // Too much is wrong to go on.
  bool gave_up() const { return gave_up_; }

 private:
  void TakeLine(std::string_view line, std::vector<WaitingLine>* lines);

  const std::string endpoint_;
  const Limits limits_;
  std::string rest_;    // a line whose end has not come
  int64_t offset_ = 0;  // of rest_ in the file
  int64_t number_ = 0;  // lines seen
  int64_t requests_ = 0;
  std::vector<BatchError> errors_;
  bool gave_up_ = false;
};

}  // namespace hadal::batches
