// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::batches {

// The contents of the store. Plain data. Times are Unix seconds, 0 if not set. `number` is a row's own, in the
// order of creation; `owner` is the tenant of a key.

struct StoredFile {
  int64_t number = 0;
  std::string id;  // "file-..."
  std::string owner;
  std::string name;
  std::string purpose;  // "batch", or "batch_output" of results
  int64_t bytes = 0;
  int64_t created = 0;
  int64_t expires = 0;
  int64_t batch = 0;          // whose results it holds; 0: it was uploaded
  bool holds_errors = false;  // of the lines that failed, not of the others
};

enum class BatchStatus : uint8_t {
  kValidating,  // the lines of its input are read
  kInProgress,  // and run
  kFinalizing,  // all have ended; results are put together
  kCompleted,
  kFailed,  // its input is not valid
  kExpired,
  kCancelling,
  kCancelled,
};
inline constexpr int kBatchStatuses = 8;
// As the API writes it: "in_progress".
std::string_view StatusName(BatchStatus status);
bool HasEnded(BatchStatus status);

// Why a batch failed.
struct BatchError {
  std::string code;
  std::string message;
  int64_t line = 0;  // of the input, from 1; 0: of the whole
};

struct StoredBatch {
  int64_t number = 0;
  std::string id;  // "batch_..."
  std::string owner;
  std::string endpoint;       // "/v1/chat/completions"
  std::string input_file;     // id
  int64_t input_number = 0;   // of that file
  std::string metadata_json;  // an object; empty: none
  BatchStatus status = BatchStatus::kValidating;
  int64_t total = 0;
  int64_t completed = 0;
  int64_t failed = 0;
  std::string output_file;  // id; empty: there is none (yet)
  std::string error_file;
  int64_t created = 0;
  int64_t expires = 0;
  int64_t result_seconds = 0;                        // how long its results are kept
  std::array<int64_t, kBatchStatuses> reached = {};  // when it came to each status
  std::vector<BatchError> errors;
};

// A line of a batch that has not ended.
struct WaitingLine {
  int64_t number = 0;  // in its file, from 1
  std::string custom_id;
  int64_t offset = 0;  // of its text in the input file
  int64_t length = 0;
  bool taken_over = false;  // from a process that has gone silent
};

// One page of a list.
struct ListQuery {
  int64_t limit = 20;
  std::string after;  // id of the last one seen; empty: from the beginning
  bool newest_first = true;
  std::string purpose;  // of files; empty: any
};
template <typename T>
struct ListPage {
  std::vector<T> items;
  bool has_more = false;
};

// Random and unguessable: `prefix` and 24 hexadecimal digits.
std::string NewId(std::string_view prefix);

}  // namespace hadal::batches
