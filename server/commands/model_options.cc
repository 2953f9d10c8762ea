// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_options.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/base/flag_values.h"
#include "server/commands/model_source.h"

namespace hadal::commands {

namespace {

constexpr size_t kMaxNameBytes = 256;

bool IsServedName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// Where the names end, or npos for a path alone. Names may hold slashes, and paths an equals sign.
size_t NamesEnd(const std::string& text) {
  std::error_code error;
  if (text.starts_with('/') || text.starts_with('.') || std::filesystem::is_directory(text, error)) {
    return std::string::npos;
  }
  return text.find('=');
}

std::string FolderName(const std::string& dir) {
  std::filesystem::path path = std::filesystem::path(dir).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  return path.filename().string();
}

}  // namespace

std::string AlgorithmFolder(const std::string& flag) {
  if (flag == "off") return "";
  if (flag != "auto") return flag;
  for (const auto& [variable, below] : {std::pair("XDG_CACHE_HOME", "/hadal"), std::pair("HOME", "/.cache/hadal")}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return absl::StrCat(value, below);
  }
  return "";
}

absl::Status ModelOptions::AddModel(const std::string& text) {
  const size_t names_end = NamesEnd(text);
  const bool named = names_end != std::string::npos;
  ModelFlag flag;
  flag.dir = named ? text.substr(names_end + 1) : text;
  if (flag.dir.empty() || names_end == 0) {
    return absl::InvalidArgumentError(absl::StrCat("expected [NAME[,NAME...]=]DIR, found '", text, "'"));
  }
  std::vector<std::string> names = {FolderName(flag.dir)};
  if (named) names = absl::StrSplit(text.substr(0, names_end), ',');
  std::error_code error;
  if (!std::filesystem::exists(flag.dir, error)) {
    if (std::optional<std::string> snapshot = FindHubSnapshot(HubCacheDir(), flag.dir); snapshot.has_value()) {
      if (!named) names = {flag.dir};
      flag.dir = *std::move(snapshot);
    }
  }
  for (const std::string& name : names) {
    if (!IsServedName(name)) {
      return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no name of a model: expected 1 to ",
                                                     kMaxNameBytes, " visible ASCII characters"));
    }
    for (const ModelFlag& other : models) {
      if (other.name == name || std::count(other.other_names.begin(), other.other_names.end(), name) > 0) {
        return absl::InvalidArgumentError(absl::StrCat("the name '", name, "' is given twice; use NAME=DIR"));
      }
    }
  }
  flag.name = names.front();
  flag.other_names.assign(names.begin() + 1, names.end());
  models.push_back(std::move(flag));
  return absl::OkStatus();
}

absl::Status ModelOptions::SetDevice(const std::string& text) {
  absl::string_view device = text;
  const bool through_torch = absl::ConsumePrefix(&device, "torch:");
  int index = 0;
  const bool numbered = absl::StartsWith(device, "cuda:") && absl::SimpleAtoi(device.substr(5), &index) && index >= 0;
  const bool best = !through_torch && (device == "auto" || device == "torch");
  if (!best && device != "cpu" && device != "cuda" && !numbered) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected auto, cpu, cuda, cuda:N, torch, torch:cpu, torch:cuda or torch:cuda:N, found '", text, "'"));
  }
  load.device = text;
  return absl::OkStatus();
}

absl::Status ModelOptions::SetLoadFormat(const std::string& text) {
  load.load_format = models::LoadFormat::kAuto;
  null_step_time.reset();
  if (text == "auto") return absl::OkStatus();
  if (text == "dummy") {
    load.load_format = models::LoadFormat::kDummy;
    return absl::OkStatus();
  }
  if (text == "null") {
    null_step_time = absl::ZeroDuration();
    return absl::OkStatus();
  }
  if (text.starts_with("null:")) {
    if (const absl::StatusOr<absl::Duration> time = base::ParseDuration(text.substr(5)); time.ok()) {
      null_step_time = *time;
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("expected auto, dummy, null or null:STEP_TIME such as null:5ms, found '", text, "'"));
}

}  // namespace hadal::commands
