// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/registry.h"
#include "models/tokenizer/tokenizer.h"
#include "server/commands/commands.h"
#include "server/commands/demo_model.h"
#include "server/commands/flag_answer.h"
#include "server/commands/memory_budget.h"
#include "server/commands/model_loading.h"
#include "server/commands/model_source.h"
#include "server/commands/server_config.h"

namespace hadal::commands {

namespace {

// The plan of what the options load, under `title`. False when it does not fit, or cannot be.
bool PrintPlan(const std::string& title, models::LoadOptions options, int32_t block_tokens) {
  absl::StatusOr<models::ModelPlan> plan = models::PlanModel(options, block_tokens);
  const bool fits = plan.ok();
  if (!fits) {
    std::fprintf(stderr, "hadal plan: %s: %s\n", title.c_str(), std::string(plan.status().message()).c_str());
    if (!absl::IsResourceExhausted(plan.status())) return false;
    options.memory_budget_bytes = 0;  // too large for here: say what it would need
    plan = models::PlanModel(options, block_tokens);
    if (!plan.ok()) return false;
  }
  std::printf("%s on %s in %s%s\n%s", title.c_str(), plan->device.c_str(), plan->dtype.c_str(),
              plan->has_weights ? "" : ", from config.json alone", plan->memory.ToString().c_str());
  return fits;
}

// One plan, or one for each host that holds layers; all of them with the budget of this one.
bool PrintPlans(const ServerConfig& config, const ModelFlag& flag, models::LoadOptions options) {
  if (!config.pipeline.enabled()) return PrintPlan(flag.name, options, config.engine.block_tokens);
  const auto parts = static_cast<int>(config.pipeline.workers.size()) + 1;
  const absl::StatusOr<std::vector<models::LayerRange>> ranges =
      models::DivideLayers(options, parts, config.pipeline.layers);
  if (!ranges.ok()) {
    std::fprintf(stderr, "hadal plan: %s: %s\n", flag.name.c_str(), std::string(ranges.status().message()).c_str());
    return false;
  }
  bool all_fit = true;
  for (int i = 0; i < parts; ++i) {
    const models::LayerRange& range = (*ranges)[i];
    options.layers = range;
    const std::string host = i == 0 ? "the server" : absl::StrCat("worker ", config.pipeline.workers[i - 1]);
    const std::string title = absl::StrCat(flag.name, ", layers [", range.begin, ", ", range.end, ") of ", host);
    all_fit = PrintPlan(title, options, config.engine.block_tokens) && all_fit;
  }
  return all_fit;
}

// What a start would say of the folder's tokenizer, as far as it has one.
bool PrintTokenizer(const ServerConfig& config, const ModelFlag& flag) {
  if (!std::filesystem::exists(std::filesystem::path(flag.dir) / "tokenizer.json")) return true;
  const auto tokenizer = tokenizer::Tokenizer::Load(flag.dir);
  absl::StatusOr<std::string> fingerprint = absl::UnknownError("not read");
  if (!tokenizer.ok()) {
    fingerprint = tokenizer.status();
  } else {
    models::LoadOptions options = config.model.load;
    options.dir = flag.dir;
    options.memory_budget_bytes = 0;
    const absl::StatusOr<models::ModelPlan> plan = models::PlanModel(options, config.engine.block_tokens);
    if (!plan.ok()) return false;  // said already
    fingerprint =
        TokenizerFingerprint(config.model, flag.dir, **tokenizer, static_cast<int32_t>(plan->config.vocab_size));
  }
  if (!fingerprint.ok()) {
    std::fprintf(stderr, "hadal plan: %s: %s\n", flag.name.c_str(),
                 std::string(fingerprint.status().message()).c_str());
    return false;
  }
  std::printf("tokenizer %s\n", fingerprint->c_str());
  return true;
}

}  // namespace

int Plan(const std::vector<std::string>& args) {
  absl::StatusOr<ParsedConfig> parsed = ParseServerConfig("plan", args);
  const std::optional<int> answered = AnswerFlags("plan", parsed.status(), parsed.ok() ? &parsed->flags : nullptr);
  if (answered.has_value()) return *answered;
  const ServerConfig& config = parsed->config;
  std::vector<ModelFlag> flags = config.model.models;
  if (flags.empty()) flags.push_back({"hadal-demo", DemoModelDir()});
  int64_t budget = config.model.memory_budget_bytes;
  if (budget == 0) {
    absl::StatusOr<int64_t> automatic = AutoMemoryBudget(config.model.load.device);
    if (automatic.ok()) budget = *automatic;
  }
  if (absl::Status status = config.pipeline.Validate(); !status.ok()) {
    std::fprintf(stderr, "hadal plan: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  int exit_code = 0;
  for (const ModelFlag& flag : flags) {
    if (absl::Status status = CheckModelFolder(flag.dir, /*wants_weights=*/false); !status.ok()) {
      std::fprintf(stderr, "hadal plan: %s\n", std::string(status.message()).c_str());
      exit_code = 1;
      continue;
    }
    models::LoadOptions options = config.model.load;
    options.dir = flag.dir;
    options.name = flag.name;
    options.memory_budget_bytes = budget / static_cast<int64_t>(flags.size());
    options.max_batch_tokens = config.engine.max_batch_tokens;
    options.max_batch_size = config.engine.max_batch_size;
    if (!PrintPlans(config, flag, options)) exit_code = 1;
    if (!PrintTokenizer(config, flag)) exit_code = 1;
  }
  return exit_code;
}

}  // namespace hadal::commands
