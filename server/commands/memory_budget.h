// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "models/kv_layout.h"

namespace hadal::commands {

// What the machine (and the container's limit) leaves, in bytes; NotFound when that cannot be told.
absl::StatusOr<int64_t> AvailableHostMemory();

// The budget for `--memory-budget=auto` on a device (as in --device), in addition to what is already loaded: the free
// memory of the device; on the CPU 60 % of the available memory, to leave room for the page cache of mapped weights and
// for other processes.
absl::StatusOr<int64_t> AutoMemoryBudget(const std::string& device);

// The memory that can be requested from a device with its own memory, in bytes.
struct DeviceRoom {
  int64_t left = 0;                        // what it has left, short of what its libraries need
  int64_t loaded = 0;                      // what this process has loaded already: the budget counts it
  int64_t mps_limit = 0, group_limit = 0;  // on this process, and on its cgroup; 0: none
};

// The budget on a device: `wanted` (--memory-budget; 0: auto, all there is). ResourceExhausted when that is more than
// there is: it would end in an allocation that fails, not in a refusal.
absl::StatusOr<int64_t> DeviceBudget(int64_t wanted, const DeviceRoom& room);

// The same for the device that --device names; `room.left` is asked of it.
absl::StatusOr<int64_t> MemoryBudget(int64_t wanted, const std::string& device, DeviceRoom room);

// The limit of the process's cgroup (dmem.max below `folder`) on the memory of the GPU at that place of the PCI bus; 0
// where there is none, as on kernels and drivers without that controller.
int64_t DeviceGroupLimit(const std::string& pci_bus_id, const std::string& folder = "/sys/fs/cgroup");

// The limit of the process's cgroup on the memory of the machine (memory.max below `folder`), as a container sees it; 0
// where there is none.
int64_t HostGroupLimit(const std::string& folder = "/sys/fs/cgroup");

// Tokens in a KV block of that model: `wanted`, rounded up so that a block holds whole entries of every cache.
// InvalidArgument, naming the flag, when the engine has no block of that size.
absl::StatusOr<int32_t> KvBlockTokens(const std::string& model, const models::KvLayout& layout, int32_t wanted);

// KV blocks for one model: what its share of the budget pays, but not more than what runs and waits could ever use.
// ResourceExhausted, naming the parts, when the windows of the batch and one block do not fit.
struct KvShare {
  int64_t share_bytes = 0;  // of the budget, for this model's caches
  models::KvLayout layout;
  int32_t block_tokens = 0;
  int64_t max_requests = 0;  // running and waiting: what waits holds its lease already
  int32_t max_model_len = 0;
  int32_t max_batch_size = 0;
  int32_t max_batch_tokens = 0;
};
absl::StatusOr<models::KvCacheSize> KvPools(const std::string& model, const KvShare& share);

}  // namespace hadal::commands
