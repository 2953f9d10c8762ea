// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "models/model.h"

namespace hadal::sim {

// A device with a model on it, as a roofline: a step takes as long as its bytes at `bandwidth` or its arithmetic at
// `flops`, whichever is longer, over the share of that limit which kernels reach (Williams et al., "Roofline", 2009).
struct DeviceSpec {
  std::string name;
  double weight_bytes = 0;          // read once in every step
  double kv_bytes_per_token = 0;    // read for each token of every sequence's context, written for each new one
  double flops_per_token = 0;       // of the products: 2 x parameters
  double attention_flops = 0;       // per new token and token of its context
  double bytes_per_second = 0;      // of memory; 0: memory costs nothing
  double flops_per_second = 0;      // 0: arithmetic costs nothing
  double efficiency = 1;            // share of the roofline reached, in (0, 1]
  absl::Duration overhead;          // of every step, besides
  int64_t kv_pool_tokens = 0;       // what fits into the KV pool
  int32_t max_model_len = 32768;    // tokens, prompt plus output
  int32_t max_batch_size = 256;     // sequences
  int32_t max_batch_tokens = 2048;  // rows of a step
  int32_t block_tokens = 64;

  absl::Duration StepTime(const models::StepInput& input) const;
};

// "h200-7b": R1-Distill-Qwen-7B in bf16 on one H200 (4.3 TB/s, 790 TFLOP/s, four fifths of the roofline).
// "demo": the demo model (models/demo) on one core that the server shares, fitted to a measurement (device.cc).
// "null-20ms": 20 ms a step whatever it holds, 256 sequences. InvalidArgument names the devices there are.
absl::StatusOr<DeviceSpec> FindDevice(std::string_view name);

}  // namespace hadal::sim
