// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "models/registry.h"
#include "server/commands/commands.h"
#include "server/commands/demo_model.h"
#include "server/commands/memory_budget.h"
#include "server/commands/model_source.h"
#include "server/commands/server_config.h"

namespace hadal::commands {

int Plan(const std::vector<std::string>& args) {
  absl::StatusOr<ParsedConfig> parsed = ParseServerConfig("plan", args);
  if (!parsed.ok()) {
    std::fprintf(stderr, "hadal plan: %s\n", std::string(parsed.status().message()).c_str());
    return 2;
  }
  if (!parsed->flags.help.empty()) {
    std::fputs(parsed->flags.help.c_str(), stdout);
    return 0;
  }
  const ServerConfig& config = parsed->config;
  std::vector<ModelFlag> flags = config.model.models;
  if (flags.empty()) flags.push_back({"hadal-demo", DemoModelDir()});
  int64_t budget = config.model.memory_budget_bytes;
  if (budget == 0) {
    absl::StatusOr<int64_t> automatic = AutoMemoryBudget(config.model.load.device);
    if (automatic.ok()) budget = *automatic;
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
    absl::StatusOr<models::ModelPlan> plan = models::PlanModel(options, config.engine.block_tokens);
    if (!plan.ok()) {
      std::fprintf(stderr, "hadal plan: %s: %s\n", flag.name.c_str(), std::string(plan.status().message()).c_str());
      exit_code = 1;
      if (!absl::IsResourceExhausted(plan.status())) continue;
      options.memory_budget_bytes = 0;  // too large for here: say what it would need
      plan = models::PlanModel(options, config.engine.block_tokens);
      if (!plan.ok()) continue;
    }
    std::printf("%s on %s in %s%s\n%s", flag.name.c_str(), plan->device.c_str(), plan->dtype.c_str(),
                plan->has_weights ? "" : ", from config.json alone", plan->memory.ToString().c_str());
  }
  return exit_code;
}

}  // namespace hadal::commands
