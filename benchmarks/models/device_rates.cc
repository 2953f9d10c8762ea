// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/device_rates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "benchmarks/models/rate_subject.h"
#include "kernels/backend.h"
#include "models/checkpoint/tensor_spec.h"
#include "models/families/family.h"
#include "models/families/network_outline.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "models/warm_up.h"

namespace hadal::models {
namespace {

using checkpoint::TensorRole;
using kernels::DType;

constexpr int64_t kTimingLimitUs = 2'000'000;  // for the choice of algorithms
constexpr int kFirstTokenRounds = 10;          // of a run: percentiles want more than a median does

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string List(const std::vector<double>& values) {
  return absl::StrJoin(values, ", ", [](std::string* out, double value) { absl::StrAppendFormat(out, "%.1f", value); });
}

double Percentile(const std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

// "p50_ms": ..., "p90_ms": ..., and so on, of sorted seconds.
std::string PercentileFields(const std::vector<double>& sorted, double scale, absl::string_view unit) {
  return absl::StrFormat(R"("p50_%s": %.4f, "p90_%s": %.4f, "p99_%s": %.4f, "max_%s": %.4f)", unit,
                         scale * Percentile(sorted, 0.5), unit, scale * Percentile(sorted, 0.9), unit,
                         scale * Percentile(sorted, 0.99), unit, scale * sorted.back());
}

// How the gaps between the tokens of a sequence spread around their median, and what issuing a step takes the host.
std::string GapFields(StepTimes& times) {
  std::sort(times.gaps_s.begin(), times.gaps_s.end());
  std::sort(times.launches_s.begin(), times.launches_s.end());
  const double median = Percentile(times.gaps_s, 0.5);
  constexpr std::array<double, 6> kEdges = {0.9, 1.1, 1.25, 1.5, 2, 4};  // in medians
  std::array<int64_t, kEdges.size() + 1> counts{};
  for (const double gap : times.gaps_s) {
    ++counts[std::upper_bound(kEdges.begin(), kEdges.end(), gap / median) - kEdges.begin()];
  }
  return absl::StrFormat(R"("steps": %d, %s, "edges_in_medians": [%s], "histogram": [%s], "launch_p50_us": %.1f, )"
                         R"("launch_p99_us": %.1f)",
                         times.gaps_s.size(), PercentileFields(times.gaps_s, 1e3, "ms"), absl::StrJoin(kEdges, ", "),
                         absl::StrJoin(counts, ", "), 1e6 * Percentile(times.launches_s, 0.5),
                         1e6 * Percentile(times.launches_s, 0.99));
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
    const RateClock::time_point begin = RateClock::now();
    HADAL_RETURN_IF_ERROR(issue());
    HADAL_RETURN_IF_ERROR(backend.Synchronize());
    if (i > 0) best = std::min(best, Seconds(begin));  // the first one warms up
  }
  return best;
}

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
  const auto steps_of = [&](int32_t sequences) { return sequences == 1 ? options.single_steps : options.decode_steps; };
  const auto decoded_of = [&](int32_t sequences) {
    return options.context_tokens + RateSubject::kSettlingSteps + steps_of(sequences);
  };
  const int32_t longest = *std::max_element(options.prompt_tokens.begin(), options.prompt_tokens.end());
  LoadOptions load;
  load.dir = dir;
  load.device = options.device;
  load.load_format = LoadFormat::kDummy;
  load.max_model_len = std::max({decoded_of(1), decoded_of(most), std::max(longest, options.first_token_prompt) + 1});
  load.max_batch_tokens = std::max({longest, options.first_token_prompt, most});
  load.max_batch_size = most;
  load.timing_limit_us = kTimingLimitUs;
  const RateClock::time_point start = RateClock::now();
  HADAL_ASSIGN_OR_RETURN(std::unique_ptr<Model> loaded, LoadModel(load));
  const double loaded_s = Seconds(start);
  HADAL_ASSIGN_OR_RETURN(RateSubject subject,
                         RateSubject::Create(std::move(loaded), most, decoded_of(most), load.max_model_len));
  const bool gpu = !absl::StartsWith(options.device, "cpu");
  HADAL_RETURN_IF_ERROR(WarmUp(subject.model(), {load.max_batch_tokens, most, subject.cache(), gpu}).status());
  const double warm_s = Seconds(start) - loaded_s;
  HADAL_RETURN_IF_ERROR(subject.Run(subject.Build(0, 1, 0, 1, subject.ColumnsOf(1), false)));
  const ModelInfo& info = subject.model().info();
  const std::string head = absl::StrFormat(R"({"model": "%s", "device": "%s", )", info.name, info.device);
  sink(absl::StrFormat(
      R"(%s"measure": "start", "seconds": %.3f, "load_s": %.3f, "warm_up_s": %.3f, "weights_gb": %.3f})", head,
      Seconds(start), loaded_s, warm_s, 1e-9 * static_cast<double>(info.weights_bytes)));

  for (const int32_t sequences : options.sequences) {
    const int32_t columns = subject.ColumnsOf(decoded_of(sequences));
    HADAL_RETURN_IF_ERROR(subject.Fill(sequences, options.context_tokens, columns, load.max_batch_tokens));
    const int32_t steps = steps_of(sequences);
    std::vector<double> rates;
    StepTimes times;
    for (int run = 0; run < options.runs; ++run) {
      HADAL_ASSIGN_OR_RETURN(const double seconds,
                             subject.Decode(sequences, options.context_tokens, steps, columns, &times));
      rates.push_back(sequences * static_cast<double>(steps) / seconds);
    }
    const int32_t middle = options.context_tokens + RateSubject::kSettlingSteps + steps / 2;
    HADAL_ASSIGN_OR_RETURN(const StepNeeds needs, NeedsOfStep(config, sequences, 1, middle));
    const double bound = sequences * limits.copy_gb_s * 1e9 / needs.bytes;
    sink(absl::StrFormat(
        R"(%s"measure": "decode", "sequences": %d, "context": %d, "tokens_per_s": %.1f, "runs": [%s], "bound_tokens_per_s": %.1f, "share": %.4f})",
        head, sequences, options.context_tokens, Median(rates), List(rates), bound, Median(rates) / bound));
    sink(absl::StrFormat(R"(%s"measure": "gaps", "sequences": %d, %s})", head, sequences, GapFields(times)));
  }

  for (const int32_t tokens : options.prompt_tokens) {
    HADAL_ASSIGN_OR_RETURN(const std::vector<double> seconds, subject.Prefill(tokens, options.runs));
    std::vector<double> rates;
    for (const double each : seconds) rates.push_back(tokens / each);
    HADAL_ASSIGN_OR_RETURN(const StepNeeds needs, NeedsOfStep(config, 1, tokens, 0));
    const double tflop_s = 1e-12 * needs.flop * Median(rates) / tokens;
    sink(absl::StrFormat(
        R"(%s"measure": "prefill", "tokens": %d, "tokens_per_s": %.1f, "runs": [%s], "tflop_s": %.4f, "share": %.4f})",
        head, tokens, Median(rates), List(rates), tflop_s, tflop_s / limits.product_tflop_s));
  }

  HADAL_ASSIGN_OR_RETURN(std::vector<double> waits,
                         subject.Prefill(options.first_token_prompt, kFirstTokenRounds * options.runs));
  std::sort(waits.begin(), waits.end());
  sink(absl::StrFormat(R"(%s"measure": "first_token", "tokens": %d, "rounds": %d, %s})", head,
                       options.first_token_prompt, waits.size(), PercentileFields(waits, 1e3, "ms")));
  return absl::OkStatus();
}

}  // namespace hadal::models
