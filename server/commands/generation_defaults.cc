// SPDX-License-Identifier: Apache-2.0
#include "server/commands/generation_defaults.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/json_numbers.h"
#include "base/read_file.h"

namespace hadal::commands {
namespace {

using nlohmann::json;

constexpr int64_t kMaxFileBytes = 1 << 20;

absl::Status Read(const json& config, const std::string& path, const char* field, double min, int64_t max,
                  std::optional<float>* out) {
  const auto it = config.find(field);
  if (it == config.end() || it->is_null()) return absl::OkStatus();
  if (!it->is_number() || it->get<double>() < min || it->get<double>() > static_cast<double>(max)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", field, ": expected a number from ", min, " to ", max, ", found ", it->dump()));
  }
  *out = it->get<float>();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<service::GenerationDefaults> ReadGenerationDefaults(const std::string& dir) {
  service::GenerationDefaults defaults;
  const std::string path = dir + "/generation_config.json";
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return defaults;
  if (!text.ok()) return text.status();
  const json config = json::parse(base::WidenJsonNumbers(*text), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  std::optional<float> top_k;
  for (const absl::Status& status :
       {Read(config, path, "temperature", 0, 2, &defaults.temperature),
        Read(config, path, "top_p", 0, 1, &defaults.top_p), Read(config, path, "min_p", 0, 1, &defaults.min_p),
        Read(config, path, "repetition_penalty", 0.01, 10, &defaults.repetition_penalty),
        Read(config, path, "top_k", -1, 1 << 24, &top_k)}) {
    if (!status.ok()) return status;
  }
  if (defaults.top_p == 0.0f) defaults.top_p.reset();
  if (top_k.has_value()) defaults.top_k = std::max(static_cast<int32_t>(*top_k), 0);  // as vLLM writes "all": -1
  const auto do_sample = config.find("do_sample");
  if (do_sample != config.end() && do_sample->is_boolean() && !do_sample->get<bool>()) defaults.temperature = 0.0f;
  return defaults;
}

}  // namespace hadal::commands
