// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/registry.h"
#include "server/engine/engine_options.h"

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

absl::StatusOr<int64_t> AutoMemoryBudget(const std::string& device) {
  models::LoadOptions options;
  options.device = device;
  const absl::StatusOr<int64_t> own = models::DeviceMemoryBytes(options);
  if (!own.ok() || *own > 0) return own;
  absl::StatusOr<int64_t> available = AvailableHostMemory();
  if (!available.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--memory-budget=auto: the available memory is unknown (",
                                                   available.status().message(),
                                                   "); give the bytes, for example --memory-budget=8GiB"));
  }
  return *available / 10 * 6;
}

absl::StatusOr<int64_t> DeviceBudget(int64_t wanted, const DeviceRoom& room) {
  int64_t most = room.left + room.loaded;
  std::string limits;
  for (const auto& [name, limit] : {std::pair("MPS", room.mps_limit), std::pair("cgroup", room.group_limit)}) {
    if (limit <= 0) continue;
    most = std::min(most, limit);
    absl::StrAppend(&limits, ", the ", name, " limit is ", limit);
  }
  if (wanted == 0) return most;
  if (wanted <= most) return wanted;
  return absl::ResourceExhaustedError(absl::StrCat("--memory-budget is ", wanted, " bytes, but the device can give ",
                                                   most, ": ", room.left, " are left, ", room.loaded, " are loaded",
                                                   limits));
}

absl::StatusOr<int64_t> MemoryBudget(int64_t wanted, const std::string& device, DeviceRoom room) {
  models::LoadOptions options;
  options.device = device;
  const absl::StatusOr<int64_t> left = models::DeviceMemoryBytes(options);
  if (!left.ok()) return left;
  if (*left > 0) {
    room.left = *left;
    return DeviceBudget(wanted, room);
  }
  if (wanted > 0) return wanted;
  const absl::StatusOr<int64_t> available = AutoMemoryBudget(device);
  if (!available.ok()) return available;
  return *available + room.loaded;  // what is loaded is not in the available memory any more
}

int64_t DeviceGroupLimit(const std::string& pci_bus_id, const std::string& folder) {
  std::ifstream limits(folder + "/dmem.max");
  const std::string wanted = absl::AsciiStrToLower(pci_bus_id);
  std::string region, limit;
  int64_t least = 0;
  while (!wanted.empty() && limits >> region >> limit) {  // "drm/0000:65:00.0/vram0 8514437120"
    int64_t bytes = 0;
    if (!absl::StrContains(absl::AsciiStrToLower(region), wanted) || !absl::SimpleAtoi(limit, &bytes))
      continue;  // "max"
    least = least == 0 ? bytes : std::min(least, bytes);
  }
  return least;
}

int64_t HostGroupLimit(const std::string& folder) { return ReadNumber(folder + "/memory.max").value_or(0); }

absl::StatusOr<int32_t> KvBlockTokens(const std::string& model, const models::KvLayout& layout, int32_t wanted) {
  if (wanted > engine::kMaxBlockTokens || layout.block_tokens_multiple() > engine::kMaxBlockTokens ||
      layout.round_block_tokens(wanted) > engine::kMaxBlockTokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("model '%s': --kv-block-tokens is %d, which must be a multiple of %d or is rounded up to one, "
                        "limit %d",
                        model, wanted, layout.block_tokens_multiple(), engine::kMaxBlockTokens));
  }
  return layout.round_block_tokens(wanted);
}

absl::StatusOr<models::KvCacheSize> KvPools(const std::string& model, const KvShare& share) {
  const models::KvLayout& layout = share.layout;
  models::KvCacheSize size =
      layout.Divide(share.share_bytes, share.block_tokens, share.max_batch_size, share.max_batch_tokens);
  const int64_t per_sequence = (int64_t{share.max_model_len} + share.block_tokens - 1) / share.block_tokens;
  const int64_t useful = per_sequence * std::min(share.max_requests, int64_t{1} << 24);
  size.blocks = static_cast<int32_t>(std::min<int64_t>(size.blocks, useful));
  if (size.blocks >= 1) return size;
  std::string windows;
  if (size.window_blocks > 0) {
    windows = absl::StrFormat("the windows of --max-batch-size=%d sequences and --max-batch-tokens=%d need %d and ",
                              share.max_batch_size, share.max_batch_tokens,
                              size.window_blocks * layout.window_block_bytes(share.block_tokens));
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "model '%s': no memory is left for the KV cache: %d bytes remain of the budget, %sone block of %d tokens needs "
      "%d; raise --memory-budget or lower %s--max-batch-tokens",
      model, share.share_bytes, windows, share.block_tokens, layout.block_bytes(share.block_tokens),
      windows.empty() ? "" : "--max-batch-size or "));
}

}  // namespace hadal::commands
