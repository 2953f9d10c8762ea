// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/device.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::sim {
namespace {

// Of the demo model on one core, see FindDevice.
constexpr double kDemoFlopsPerSecond = 67.5e9;
constexpr absl::Duration kDemoOverhead = absl::Microseconds(600);

}  // namespace

absl::Duration DeviceSpec::StepTime(const models::StepInput& input) const {
  double context_tokens = 0;
  double attended = 0;  // pairs of a new token and a token of its context
  for (int32_t s = 0; s < input.sequences(); ++s) {
    const double context = input.context_lens[s];
    const double rows = input.query_start[s + 1] - input.query_start[s];
    context_tokens += context;
    attended += rows * (context - (rows - 1) / 2);
  }
  double seconds = 0;
  if (bytes_per_second > 0) {
    seconds = (weight_bytes + kv_bytes_per_token * (context_tokens + input.tokens())) / bytes_per_second;
  }
  if (flops_per_second > 0) {
    seconds = std::max(seconds, (flops_per_token * input.tokens() + attention_flops * attended) / flops_per_second);
  }
  return overhead + absl::Seconds(seconds / efficiency);
}

absl::StatusOr<DeviceSpec> FindDevice(std::string_view name) {
  DeviceSpec device;
  device.name = std::string(name);
  if (name == "h200-7b") {
    device.weight_bytes = 14.14e9;
    device.kv_bytes_per_token = 57344;
    device.flops_per_token = 14.14e9;
    device.attention_flops = 4.0 * 28 * 28 * 128;  // two products over layers x heads x dim
    device.bytes_per_second = 4.3e12;
    device.flops_per_second = 790e12;
    device.efficiency = 0.8;
    device.overhead = absl::Microseconds(300);
    device.kv_pool_tokens = 2'080'000;
    return device;
  }
  if (name == "demo") {
    // Of its config.json: products with what a token's experts hold, and latent attention over 4 layers x 8 heads. The
    // weights stay in the cache. Rate and overhead are those at which this simulator has the goodput at 2x and the time
    // per token at 0.8x of benchmarks/results/overload_wall_clock.json: 22,800 tokens/s and 1.2 ms. They contain what
    // the server itself takes of the core.
    device.kv_bytes_per_token = 2 * 4 * (64 + 32);
    device.flops_per_token = 2.18e6;
    device.attention_flops = 4 * 8 * (2.0 * (16 + 32) + 2.0 * 32);
    device.flops_per_second = kDemoFlopsPerSecond;
    device.overhead = kDemoOverhead;
    device.kv_pool_tokens = 256 * 2048;
    device.max_model_len = 2048;
    return device;
  }
  if (name == "null-20ms") {
    device.overhead = absl::Milliseconds(20);
    device.kv_pool_tokens = 2'000'000;
    return device;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no device \"", base::View(name), "\"; there are h200-7b, demo and null-20ms"));
}

}  // namespace hadal::sim
