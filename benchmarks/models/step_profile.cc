// SPDX-License-Identifier: Apache-2.0
//
// Where the time of a model step goes: runs prefill steps (at the start and behind the context) and decode steps of a
// checkpoint folder (config.json suffices: weights are random) and prints one JSON object with the time of each op and
// what is left outside of all ops.
//
//   build/release/benchmarks/models/step_profile DIR [prefill_tokens [decode_sequences [context_tokens [steps]]]]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/uniform_backend.h"
#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/families/family.h"
#include "models/families/network_outline.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "models/step_executor.h"

namespace hadal::models {
namespace {

using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// Passes every op on to another backend and adds up the time of each.
class TimedBackend : public kernels::UniformBackend<TimedBackend> {
 public:
  explicit TimedBackend(std::unique_ptr<kernels::Backend> inner) : inner_(std::move(inner)) {}

  struct Entry {
    double milliseconds = 0;
    int64_t calls = 0;
  };
  std::map<std::string, Entry> times;

  absl::string_view name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  bool host_accessible() const override { return inner_->host_accessible(); }
  absl::StatusOr<kernels::Buffer> Allocate(int64_t bytes) override { return inner_->Allocate(bytes); }
  absl::StatusOr<kernels::DeviceMemory> Memory() override { return inner_->Memory(); }
  absl::Status Upload(void* target, const void* source, int64_t bytes) override {
    return inner_->Upload(target, source, bytes);
  }
  absl::Status Download(void* target, const void* source, int64_t bytes) override {
    return inner_->Download(target, source, bytes);
  }
  absl::Status Copy(void* target, const void* source, int64_t bytes) override {
    return inner_->Copy(target, source, bytes);
  }
  absl::Status Zero(void* target, int64_t bytes) override { return inner_->Zero(target, bytes); }
  absl::Status Synchronize() override { return inner_->Synchronize(); }
  absl::Status Reserve(const kernels::StepBounds& bounds) override { return inner_->Reserve(bounds); }
  absl::Status BeginStep(const kernels::StepLists& lists) override { return inner_->BeginStep(lists); }

 private:
  friend kernels::UniformBackend<TimedBackend>;

  template <typename Params>
  absl::Status RunOp(const Params& params) {
    std::string name = kernels::OpTraits<Params>::kName;
    if constexpr (std::is_same_v<Params, kernels::GemmParams>) {
      name += " " + std::to_string(params.w.out_features()) + "x" + std::to_string(params.w.in_features());
    }
    const Clock::time_point begin = Clock::now();
    const absl::Status status = (inner_.get()->*kernels::OpTraits<Params>::kMethod)(params);
    Entry& entry = times[name];
    entry.milliseconds += Milliseconds(begin);
    ++entry.calls;
    return status;
  }

  void Free(void* data, int64_t bytes) override {}  // buffers belong to the inner backend

  std::unique_ptr<kernels::Backend> inner_;
};

StepInput MakeStep(int32_t sequences, int32_t new_tokens, int32_t cached, int32_t block_tokens, int32_t vocab) {
  StepInput input;
  input.query_start.push_back(0);
  input.block_table_stride = (cached + new_tokens + block_tokens - 1) / block_tokens;
  for (int32_t s = 0; s < sequences; ++s) {
    for (int32_t i = 0; i < new_tokens; ++i) {
      const int32_t position = cached + i;
      input.token_ids.push_back((s * 131 + position * 7 + 3) % vocab);
      input.positions.push_back(position);
      input.slot_mapping.push_back(int64_t{s * input.block_table_stride + position / block_tokens} * block_tokens +
                                   position % block_tokens);
    }
    input.query_start.push_back(input.tokens());
    input.context_lens.push_back(cached + new_tokens);
    for (int32_t b = 0; b < input.block_table_stride; ++b)
      input.block_tables.push_back(s * input.block_table_stride + b);
    SampleRow& row = input.samples.emplace_back();
    row.token_index = input.tokens() - 1;
    row.params = std::make_shared<SamplingParams>(SamplingParams{.temperature = 0.0f});
  }
  return input;
}

absl::Status Profile(const char* name, StepExecutor& executor, TimedBackend& backend, const StepInput& step, int steps,
                     bool last) {
  HADAL_RETURN_IF_ERROR(executor.Run(step).status());  // touches every weight once
  backend.times.clear();
  std::vector<double> wall;
  for (int i = 0; i < steps; ++i) {
    const Clock::time_point begin = Clock::now();
    HADAL_RETURN_IF_ERROR(executor.Run(step).status());
    wall.push_back(Milliseconds(begin));
  }
  double total = 0;
  for (const double ms : wall) total += ms / steps;
  std::sort(wall.begin(), wall.end());
  std::printf("  \"%s\": {\"step_ms_median\": %.3f, \"step_ms_min\": %.3f, \"tokens\": %d, \"ops_ms\": {", name,
              wall[wall.size() / 2], wall[0], step.tokens());
  double inside = 0;
  const char* separator = "";
  for (const auto& [op, entry] : backend.times) {
    std::printf("%s\n    \"%s\": [%.3f, %ld]", separator, op.c_str(), entry.milliseconds / steps,
                static_cast<long>(entry.calls / steps));
    inside += entry.milliseconds / steps;
    separator = ",";
  }
  std::printf("},\n    \"outside_ops_us\": %.1f}%s\n", (total - inside) * 1000, last ? "" : ",");
  return absl::OkStatus();
}

absl::Status Main(const std::string& dir, int32_t prefill, int32_t sequences, int32_t context, int steps) {
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ReadModelConfig(dir));
  HADAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config.architecture));
  const kernels::DType dtype = config.DefaultComputeDType();
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<kernels::Backend> cpu, kernels::CreateBackend("cpu", {}));
  TimedBackend backend(std::move(cpu));
  HADAL_ASSIGN_OR_RETURN(const auto outline, NetworkOutline::Create(*family, config, dtype));
  HADAL_ASSIGN_OR_RETURN(const auto weights,
                         checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(outline->tensors(), 1), config,
                                                          &backend, {.compute_dtype = dtype}));
  constexpr int32_t kBlockTokens = 64;
  const int32_t longest = prefill + context;
  HADAL_ASSIGN_OR_RETURN(auto network, family->load({config, *weights, backend}, {longest}));
  const int32_t blocks = std::max(sequences, 1) * ((longest + kBlockTokens - 1) / kBlockTokens);
  HADAL_RETURN_IF_ERROR(network->AllocateKvCache({blocks, kBlockTokens}));
  StepExecutor executor(&backend, std::move(network),
                        {std::max(prefill, sequences), std::max(sequences, 1),
                         [&](int64_t tokens) { return outline->WorkspaceBytes(tokens); }});
  HADAL_RETURN_IF_ERROR(executor.Prepare());
  const int32_t vocab = static_cast<int32_t>(config.vocab_size);
  std::printf("{\n  \"device\": \"%s\",\n", backend.description().c_str());
  // Every sequence gets its context first, so that decode reads keys that were written.
  for (int32_t done = 0; done < context; done += prefill) {
    const int32_t count = std::min(prefill, context - done);
    StepInput step = MakeStep(1, count, done, kBlockTokens, vocab);
    HADAL_RETURN_IF_ERROR(executor.Run(step).status());
  }
  HADAL_RETURN_IF_ERROR(Profile("prefill", executor, backend, MakeStep(1, prefill, 0, kBlockTokens, vocab),
                                std::max(1, steps / 5), false));
  HADAL_RETURN_IF_ERROR(Profile("prefill_behind_context", executor, backend,
                                MakeStep(1, prefill, context, kBlockTokens, vocab), std::max(1, steps / 5), false));
  HADAL_RETURN_IF_ERROR(
      Profile("decode", executor, backend, MakeStep(sequences, 1, context, kBlockTokens, vocab), steps, true));
  std::printf("}\n");
  return absl::OkStatus();
}

}  // namespace
}  // namespace hadal::models

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: step_profile DIR [prefill_tokens [decode_sequences [context_tokens [steps]]]]\n";
    return 2;
  }
  const auto argument = [&](int i, int value) { return argc > i ? std::max(1, std::atoi(argv[i])) : value; };
  const absl::Status status =
      hadal::models::Main(argv[1], argument(2, 512), argument(3, 1), argument(4, 128), argument(5, 10));
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
