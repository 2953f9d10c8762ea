// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::commands {
namespace {

absl::StatusOr<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  int64_t value = 0;
  if (!(file >> word) || !absl::SimpleAtoi(word, &value)) return absl::NotFoundError(path);  // "max" is no limit
  return value;
}

}  // namespace

absl::StatusOr<int64_t> AvailableHostMemory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  int64_t available = -1;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") available = kib * 1024;
  }
  if (available < 0) return absl::NotFoundError("/proc/meminfo has no MemAvailable");
  const absl::StatusOr<int64_t> limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const absl::StatusOr<int64_t> used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit.ok() && used.ok()) available = std::min(available, std::max<int64_t>(0, *limit - *used));
  return available;
}

absl::StatusOr<int64_t> AutoMemoryBudget() {
  absl::StatusOr<int64_t> available = AvailableHostMemory();
  if (!available.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--memory-budget=auto: the available memory is unknown (",
                                                   available.status().message(),
                                                   "); give the bytes, for example --memory-budget=8GiB"));
  }
  return *available / 10 * 6;
}

absl::StatusOr<int32_t> KvBlocks(const std::string& model, const KvShare& share) {
  const int64_t block_bytes = share.bytes_per_token * share.block_tokens;
  const int64_t per_sequence = (int64_t{share.max_model_len} + share.block_tokens - 1) / share.block_tokens;
  const int64_t useful = per_sequence * std::min(share.max_requests, int64_t{1} << 24);
  const int64_t affordable = share.share_bytes / std::max<int64_t>(block_bytes, 1);
  const int64_t blocks = std::min({useful, affordable, int64_t{std::numeric_limits<int32_t>::max()}});
  if (blocks < 1) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("model '%s': no memory is left for the KV cache: %d bytes remain of the budget, one block of "
                        "%d tokens needs %d; "
                        "raise --memory-budget or lower --max-batch-tokens",
                        model, share.share_bytes, share.block_tokens, block_bytes));
  }
  return static_cast<int32_t>(blocks);
}

}  // namespace hadal::commands
