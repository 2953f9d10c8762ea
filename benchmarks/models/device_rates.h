// SPDX-License-Identifier: Apache-2.0
//
// What a device reaches with a model, beside what the device can do at all: no server, no network, and no weights but
// random ones, so that config.json suffices.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/config/config.h"

namespace hadal::models {

struct RateOptions {
  std::string device = "cuda";                     // as kernels::CreateBackend knows it
  std::vector<int32_t> sequences = {1, 128, 256};  // that decode together
  int32_t context_tokens = 1024;                   // of each of them before the first step
  int32_t decode_steps = 128;                      // of one run
  int32_t single_steps = 512;                      // of one run of a sequence that decodes alone
  std::vector<int32_t> prompt_tokens = {128, 256, 512, 1024, 2048, 4096, 8192};  // of prefills, one step each
  int32_t first_token_prompt = 1024;                                             // of the wait for a first token
  int32_t runs = 5;                       // of each measurement; the median counts
  int64_t copy_bytes = int64_t{1} << 30;  // of the copy that shows the bandwidth
  int64_t product_rows = 8192;            // of the square bf16 product that shows the arithmetic
};

// Measured on the device itself, the best of several rounds.
struct DeviceLimits {
  double copy_gb_s = 0;        // bytes read and written by a copy within the device
  double product_tflop_s = 0;  // of the product, by the library that the backend calls
};

// What a step cannot do without: the weights that its tokens meet and the keys and values of their contexts, once each,
// and the products with weights. Attention's own arithmetic does not count. Experts are met as with uniform routing.
struct StepNeeds {
  double bytes = 0, flop = 0;
};

// Of `sequences` that each add `tokens` behind `cached` others and sample once. Errors are NetworkOutline's.
absl::StatusOr<StepNeeds> NeedsOfStep(const config::ModelConfig& config, int64_t sequences, int64_t tokens,
                                      int64_t cached);

// Takes each result as soon as it is known, one JSON object in a line.
using RateSink = std::function<void(const std::string& line)>;

// The device's limits: {"measure": "limits", ...}. Errors are the backend's.
absl::StatusOr<DeviceLimits> MeasureLimits(const RateOptions& options, const RateSink& sink);

// Start to first token, decode by batch size, and prefill by length of the configuration in `dir`, each with its share
// of the limits: {"model": ..., "measure": "start" | "decode" | "prefill", ...}; the gaps between the tokens of those
// decodes with what issuing a step takes the host ("gaps"), and the wait for the first token of a prompt
// ("first_token"), both as percentiles, without tokenizer and network. Blocks until all is measured; errors are those
// of LoadModel and of the steps.
absl::Status MeasureModel(const std::string& dir, const RateOptions& options, const DeviceLimits& limits,
                          const RateSink& sink);

}  // namespace hadal::models
