// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_options.h"

#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/flag_values.h"

namespace hadal::commands {

absl::Status ModelOptions::AddModel(const std::string& text) {
  const size_t equals = text.find('=');
  const bool named = equals != std::string::npos && text.find('/') > equals;
  ModelFlag flag{named ? text.substr(0, equals) : "", named ? text.substr(equals + 1) : text};
  if (flag.dir.empty()) return absl::InvalidArgumentError(absl::StrCat("expected [NAME=]DIR, found '", text, "'"));
  if (flag.name.empty()) {
    std::filesystem::path path = std::filesystem::path(flag.dir).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();
    flag.name = path.filename().string();
  }
  for (const ModelFlag& other : models) {
    if (other.name == flag.name) {
      return absl::InvalidArgumentError(absl::StrCat("the name '", flag.name, "' is given twice; use NAME=DIR"));
    }
  }
  models.push_back(std::move(flag));
  return absl::OkStatus();
}

absl::Status ModelOptions::SetDevice(const std::string& text) {
  int index = 0;
  const bool numbered = text.starts_with("cuda:") && absl::SimpleAtoi(text.substr(5), &index) && index >= 0;
  if (text != "auto" && text != "cpu" && text != "cuda" && !numbered) {
    return absl::InvalidArgumentError(absl::StrCat("expected auto, cpu, cuda or cuda:N, found '", text, "'"));
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
