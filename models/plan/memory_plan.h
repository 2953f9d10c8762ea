// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/checkpoint/recording_loader.h"
#include "models/config/config.h"
#include "models/kv_layout.h"

namespace hadal::plan {

struct MemoryPlanOptions {
  checkpoint::ParameterTotals parameters;  // what models::NetworkOutline says
  int64_t mtp_parameters = 0;              // the same, of layers for multi-token prediction
  models::KvLayout kv_layout;              // what models::NetworkOutline says
  int64_t block_tokens = 64;               // rounded up to the layout's multiple
  int64_t max_sequences = 1;               // of one step: so many windows are held
  int64_t max_step_tokens = 0;             // of one step: prompt chunks hold windowed entries besides the windows
  int64_t max_model_len = 0;               // tokens; 0: max_position_embeddings
  int64_t budget_bytes = 0;                // weights, workspace and cache together; 0: plan without a budget
  int64_t workspace_bytes = 0;             // what Model::WorkspaceBytes says
  int64_t extra_weights_bytes = 0;         // tables that the network keeps besides its parameters
  int64_t ignored_tensors = 0;             // what TensorReport says of the files
  int64_t ignored_bytes = 0;
};

// What one device of a usual size would hold, all of its memory given to the model.
struct DeviceFit {
  int64_t device_bytes = 0;
  int64_t needed_bytes = 0;  // weights, workspace, windows and one block of cache
  int64_t kv_tokens = 0;     // 0 when that does not fit
};

// Where the memory goes. Plain data; nothing is allocated.
struct MemoryPlan {
  int64_t parameter_count = 0;         // main model; tied embeddings once; without multi-token prediction layers
  int64_t active_parameter_count = 0;  // matrix parameters touched per decoded token (output head and router included)
  int64_t mtp_parameter_count = 0;     // of layers for multi-token prediction, which are ignored
  int64_t ignored_tensors = 0;         // in the files; 0 without files
  int64_t ignored_bytes = 0;           // as stored
  int64_t weights_bytes = 0;           // in the compute type, extra copies included
  int64_t workspace_bytes = 0;
  int64_t block_tokens = 0;
  int64_t kv_bytes_per_token = 0;  // of the full-attention caches
  int64_t kv_bytes_per_block = 0;
  int64_t window_tokens = 0;              // 0: no windowed cache
  int64_t window_bytes_per_sequence = 0;  // windowed caches of one running sequence, whole blocks
  int64_t window_bytes = 0;  // of max_sequences and two steps' tokens; with a budget also windows kept for reuse
  int64_t max_model_len = 0;
  int64_t max_len_request_bytes = 0;  // cache of one request of max_model_len tokens, whole blocks
  int64_t budget_bytes = 0;
  int64_t kv_blocks = 0;  // that fit; 0 without a budget
  int64_t kv_tokens = 0;
  std::vector<DeviceFit> devices;  // 80 and 141 GiB

  // Lines for a terminal.
  std::string ToString() const;
};

// InvalidArgument for options out of range; ResourceExhausted, naming each part and the budget, when weights, workspace
// windows and the cache of a single block do not fit.
absl::StatusOr<MemoryPlan> PlanMemory(const config::ModelConfig& config, const MemoryPlanOptions& options);

}  // namespace hadal::plan
