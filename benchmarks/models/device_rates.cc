// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/device_rates.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "kernels/backend.h"
#include "models/checkpoint/tensor_spec.h"
#include "models/families/family.h"
#include "models/families/network_outline.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "models/warm_up.h"

namespace hadal::models {
namespace {

using Clock = std::chrono::steady_clock;
using checkpoint::TensorRole;
using kernels::DType;

constexpr int32_t kBlockTokens = 64;
constexpr int64_t kTimingLimitUs = 2'000'000;  // for the choice of algorithms
constexpr int kSettlingSteps = 4;              // a step is recorded the second time, and replayed from the third on

double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string List(const std::vector<double>& values) {
  return absl::StrJoin(values, ", ", [](std::string* out, double value) { absl::StrAppendFormat(out, "%.1f", value); });
}

// bf16 numbers of both signs between 1/128 and 2: a GPU computes zeros at a higher clock than data.
absl::Status FillBf16(kernels::Backend& backend, const kernels::Buffer& buffer) {
  std::vector<uint16_t> values(static_cast<size_t>(buffer.bytes() / 2));
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<uint16_t>((state >> 16 & 0x8000) | (0x3C00 + (state >> 8 & 0x3FF)));
  }
  return backend.Upload(buffer.data(), values.data(), buffer.bytes());
}

// The shortest of several rounds of `issue`, in seconds.
template <typename Issue>
absl::StatusOr<double> BestRound(kernels::Backend& backend, int rounds, const Issue& issue) {
  double best = 1e30;
  for (int i = 0; i <= rounds; ++i) {
    const Clock::time_point begin = Clock::now();
    HADAL_RETURN_IF_ERROR(issue());
    HADAL_RETURN_IF_ERROR(backend.Synchronize());
    if (i > 0) best = std::min(best, Seconds(begin));  // the first one warms up
  }
  return best;
}

// A model, and the steps of equal sequences that are measured on it.
class Subject {
 public:
  Subject(std::unique_ptr<Model> model, KvCacheSize cache) : model_(std::move(model)), cache_(cache) {}

  Model& model() { return *model_; }

  // Every sequence adds `tokens` after `cached` others; `fed`: they are what the step before samples.
  StepInput Build(int32_t first, int32_t sequences, int32_t cached, int32_t tokens, int32_t columns, bool fed) const {
    StepInput input;
    input.query_start.push_back(0);
    input.block_table_stride = columns;
    const auto greedy = std::make_shared<const SamplingParams>(SamplingParams{.temperature = 0.0f});
    for (int32_t s = first; s < first + sequences; ++s) {
      for (int32_t i = 0; i < tokens; ++i) {
        const int32_t position = cached + i;
        const int64_t block = int64_t{s} * columns + position / cache_.block_tokens;
        const int64_t id = (int64_t{s} * 104729 + int64_t{position} * 7919) % model_->info().vocab_size;
        input.token_ids.push_back(fed ? FedToken(s - first) : static_cast<int32_t>(id));
        input.positions.push_back(position);
        input.slot_mapping.push_back(block * cache_.block_tokens + position % cache_.block_tokens);
      }
      for (int32_t b = 0; b < columns; ++b) input.block_tables.push_back(s * columns + b);
      input.query_start.push_back(input.tokens());
      input.context_lens.push_back(cached + tokens);
      SampleRow& row = input.samples.emplace_back();
      row.token_index = input.tokens() - 1;
      row.params = greedy;
    }
    if (cache_.window_blocks > 0) {
      input.window_slot_mapping = input.slot_mapping;
      input.window_block_tables = input.block_tables;
    }
    return input;
  }

  absl::Status Wait(StepHandle handle) {
    HADAL_ASSIGN_OR_RETURN(const StepOutput output, model_->Wait(handle));
    for (const SampleResult& sample : output.samples) {
      if (sample.faulty) return absl::InternalError("logits held NaN");
    }
    return absl::OkStatus();
  }

  absl::Status Run(StepInput input) {
    HADAL_ASSIGN_OR_RETURN(const StepHandle handle, model_->Launch(std::move(input)));
    return Wait(handle);
  }

  // Writes `tokens` of each sequence to the caches, at most `most` in a step.
  absl::Status Fill(int32_t sequences, int32_t tokens, int32_t columns, int32_t most) {
    for (int32_t s = 0; s < sequences; ++s) {
      for (int32_t done = 0; done < tokens; done += most) {
        HADAL_RETURN_IF_ERROR(Run(Build(s, 1, done, std::min(most, tokens - done), columns, false)));
      }
    }
    return absl::OkStatus();
  }

  // Steps that are launched behind one another, as the engine does it; seconds of those after the settling ones.
  absl::StatusOr<double> Decode(int32_t sequences, int32_t cached, int32_t steps, int32_t columns) {
    Clock::time_point begin = Clock::now();
    HADAL_ASSIGN_OR_RETURN(StepHandle ahead, model_->Launch(Build(0, sequences, cached, 1, columns, false)));
    for (int32_t i = 1; i < kSettlingSteps + steps; ++i) {
      HADAL_ASSIGN_OR_RETURN(const StepHandle next, model_->Launch(Build(0, sequences, cached + i, 1, columns, true)));
      HADAL_RETURN_IF_ERROR(Wait(ahead));
      ahead = next;
      if (i == kSettlingSteps) begin = Clock::now();
    }
    HADAL_RETURN_IF_ERROR(Wait(ahead));
    return Seconds(begin);
  }

 private:
  std::unique_ptr<Model> model_;
  KvCacheSize cache_;
};

}  // namespace

absl::StatusOr<StepNeeds> NeedsOfStep(const config::ModelConfig& config, int64_t sequences, int64_t tokens,
                                      int64_t cached) {
  HADAL_ASSIGN_OR_RETURN(const Family* family, FindFamily(config.architecture));
  const DType dtype = config.DefaultComputeDType();
  HADAL_ASSIGN_OR_RETURN(const auto outline, NetworkOutline::Create(*family, config, dtype));
  const auto rows = static_cast<double>(sequences * tokens);
  double chosen = 1, met = 1;  // shares of the experts: of one token, and of the whole step
  if (config.moe.has_value()) {
    chosen = static_cast<double>(config.moe->experts_per_token) / static_cast<double>(config.moe->routed_experts);
    met = 1 - std::pow(1 - chosen, rows);
  }
  StepNeeds needs;
  for (const checkpoint::TensorSpec& spec : outline->tensors()) {
    if (spec.role == TensorRole::kEmbedding) continue;
    double elements = 1;
    for (const int64_t size : spec.shape) elements *= static_cast<double>(size);
    const bool expert = spec.role == TensorRole::kExpert;
    const auto bytes = static_cast<double>(checkpoint::KeptWeight(spec.role, spec.shape, dtype).bytes());
    needs.bytes += bytes * (expert ? met : 1);
    if (spec.role == TensorRole::kOutputHead) {
      needs.flop += 2 * elements * static_cast<double>(sequences);
    } else if (spec.shape.size() > 1 && spec.role != TensorRole::kExpertTable) {
      needs.flop += 2 * elements * rows * (expert ? chosen : 1);
    }
  }
  needs.bytes += static_cast<double>(sequences * (cached + tokens) * outline->kv_layout().bytes_per_token());
  return needs;
}

absl::StatusOr<DeviceLimits> MeasureLimits(const RateOptions& options, const RateSink& sink) {
  kernels::Backend::Options backend_options;
  backend_options.timing_limit_us = kTimingLimitUs;
  HADAL_ASSIGN_OR_RETURN(const auto backend, kernels::CreateBackend(options.device, backend_options));
  DeviceLimits limits;
  {
    HADAL_ASSIGN_OR_RETURN(const kernels::Buffer from, backend->Allocate(options.copy_bytes));
    HADAL_ASSIGN_OR_RETURN(const kernels::Buffer to, backend->Allocate(options.copy_bytes));
    HADAL_RETURN_IF_ERROR(backend->Zero(from.data(), options.copy_bytes));
    HADAL_ASSIGN_OR_RETURN(const double seconds, BestRound(*backend, options.runs, [&] {
                             return backend->Copy(to.data(), from.data(), options.copy_bytes);
                           }));
    limits.copy_gb_s = 2e-9 * static_cast<double>(options.copy_bytes) / seconds;
  }
  const int64_t n = options.product_rows;
  HADAL_ASSIGN_OR_RETURN(const kernels::Buffer x, backend->Allocate(n * n * 2));
  HADAL_ASSIGN_OR_RETURN(const kernels::Buffer w, backend->Allocate(n * n * 2));
  HADAL_ASSIGN_OR_RETURN(const kernels::Buffer out, backend->Allocate(n * n * 2));
  HADAL_RETURN_IF_ERROR(FillBf16(*backend, x));
  HADAL_RETURN_IF_ERROR(FillBf16(*backend, w));
  const auto view = [&](const kernels::Buffer& buffer) {
    return kernels::TensorView(buffer.data(), DType::kBF16, {n, n});
  };
  const auto product = [&] {
    return backend->Gemm({.x = view(x), .w = kernels::WeightView::Plain(view(w)), .bias = {}, .out = view(out)});
  };
  backend->BeginWarmUp();
  HADAL_RETURN_IF_ERROR(product());
  HADAL_RETURN_IF_ERROR(backend->Synchronize());
  backend->EndWarmUp();
  constexpr int kProducts = 4;  // of one round, so that the wait at its end counts little
  HADAL_ASSIGN_OR_RETURN(const double seconds, BestRound(*backend, options.runs, [&] {
                           for (int i = 1; i < kProducts; ++i) HADAL_RETURN_IF_ERROR(product());
                           return product();
                         }));
  limits.product_tflop_s = 2e-12 * kProducts * std::pow(static_cast<double>(n), 3) / seconds;
  sink(absl::StrFormat(R"({"measure": "limits", "copy_gb_s": %.2f, "product_tflop_s": %.4f})", limits.copy_gb_s,
                       limits.product_tflop_s));
  return limits;
}

absl::Status MeasureModel(const std::string& dir, const RateOptions& options, const DeviceLimits& limits,
                          const RateSink& sink) {
  HADAL_ASSIGN_OR_RETURN(const config::ModelConfig config, config::ReadModelConfig(dir));
  const int32_t most = *std::max_element(options.sequences.begin(), options.sequences.end());
  const int32_t decoded = options.context_tokens + kSettlingSteps + options.decode_steps;
  LoadOptions load;
  load.dir = dir;
  load.device = options.device;
  load.load_format = LoadFormat::kDummy;
  load.max_model_len = std::max(decoded, options.prompt_tokens + 1);
  load.max_batch_tokens = std::max(options.prompt_tokens, most);
  load.max_batch_size = most;
  load.timing_limit_us = kTimingLimitUs;
  const Clock::time_point start = Clock::now();
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<Model> loaded, LoadModel(load));
  const double loaded_s = Seconds(start);
  const KvLayout layout = loaded->kv_layout();
  KvCacheSize cache = {.block_tokens = layout.round_block_tokens(kBlockTokens)};
  const auto columns_of = [&](int32_t tokens) { return (tokens + cache.block_tokens - 1) / cache.block_tokens; };
  const int32_t columns = columns_of(decoded), prompt_columns = columns_of(options.prompt_tokens);
  cache.blocks = std::max(most * columns, columns_of(load.max_model_len));
  cache.window_blocks = layout.window_tokens > 0 ? cache.blocks : 0;
  HADAL_RETURN_IF_ERROR(loaded->AllocateKvCache(cache));
  Subject subject(std::move(loaded), cache);
  const bool gpu = !absl::StartsWith(options.device, "cpu");
  HADAL_RETURN_IF_ERROR(WarmUp(subject.model(), {load.max_batch_tokens, most, cache, gpu}).status());
  const double warm_s = Seconds(start) - loaded_s;
  HADAL_RETURN_IF_ERROR(subject.Run(subject.Build(0, 1, 0, 1, columns, false)));
  const ModelInfo& info = subject.model().info();
  const std::string head = absl::StrFormat(R"({"model": "%s", "device": "%s", )", info.name, info.device);
  sink(absl::StrFormat(
      R"(%s"measure": "start", "seconds": %.3f, "load_s": %.3f, "warm_up_s": %.3f, "weights_gb": %.3f})", head,
      Seconds(start), loaded_s, warm_s, 1e-9 * static_cast<double>(info.weights_bytes)));

  for (const int32_t sequences : options.sequences) {
    HADAL_RETURN_IF_ERROR(subject.Fill(sequences, options.context_tokens, columns, load.max_batch_tokens));
    std::vector<double> rates;
    for (int run = 0; run < options.runs; ++run) {
      HADAL_ASSIGN_OR_RETURN(const double seconds,
                             subject.Decode(sequences, options.context_tokens, options.decode_steps, columns));
      rates.push_back(sequences * static_cast<double>(options.decode_steps) / seconds);
    }
    const int32_t middle = options.context_tokens + kSettlingSteps + options.decode_steps / 2;
    HADAL_ASSIGN_OR_RETURN(const StepNeeds needs, NeedsOfStep(config, sequences, 1, middle));
    const double bound = sequences * limits.copy_gb_s * 1e9 / needs.bytes;
    sink(absl::StrFormat(
        R"(%s"measure": "decode", "sequences": %d, "context": %d, "tokens_per_s": %.1f, "runs": [%s], "bound_tokens_per_s": %.1f, "share": %.4f})",
        head, sequences, options.context_tokens, Median(rates), List(rates), bound, Median(rates) / bound));
  }

  std::vector<double> rates;
  for (int run = -1; run < options.runs; ++run) {
    const Clock::time_point begin = Clock::now();
    HADAL_RETURN_IF_ERROR(subject.Run(subject.Build(0, 1, 0, options.prompt_tokens, prompt_columns, false)));
    if (run >= 0) rates.push_back(options.prompt_tokens / Seconds(begin));
  }
  HADAL_ASSIGN_OR_RETURN(const StepNeeds needs, NeedsOfStep(config, 1, options.prompt_tokens, 0));
  const double tflop_s = 1e-12 * needs.flop * Median(rates) / options.prompt_tokens;
  sink(absl::StrFormat(
      R"(%s"measure": "prefill", "tokens": %d, "tokens_per_s": %.1f, "runs": [%s], "tflop_s": %.4f, "share": %.4f})",
      head, options.prompt_tokens, Median(rates), List(rates), tflop_s, tflop_s / limits.product_tflop_s));
  return absl::OkStatus();
}

}  // namespace hadal::models
