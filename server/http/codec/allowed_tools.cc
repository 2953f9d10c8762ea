// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/allowed_tools.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/service/limits.h"

namespace hadal::http {

using simdjson::dom::element;

absl::Status ReadAllowedTools(const simdjson::dom::object& fields, std::string_view path, std::string_view wrapper,
                              service::ChatCall* call, std::optional<std::vector<std::string>>* names) {
  std::string mode;
  absl::Status status = ReadMember(fields, path, "mode", &mode);
  if (status.ok() && mode != "auto" && mode != "required") {
    status = UnknownWord(absl::StrCat(base::View(path), ".mode"), mode, "\"auto\" or \"required\"");
  }
  if (!status.ok()) return status;
  if (mode == "required") call->tool_choice = service::ToolChoice::kRequired;
  names->emplace();
  const std::string list = absl::StrCat(base::View(path), ".tools");
  const absl::StatusOr<element> value = NeededMember(fields, path, "tools");
  if (!value.ok()) return value.status();
  simdjson::dom::array array;
  if (status = ReadArray(*value, list, &array); !status.ok()) return status;
  size_t index = 0;
  for (const element item : array) {
    std::string here = absl::StrCat(list, "[", index++, "]");
    simdjson::dom::object tool;
    std::string type;
    status = ReadObject(item, here, &tool);
    if (status.ok()) status = ReadMember(tool, here, "type", &type);
    // Tools of other types were left out of `tools`, too.
    if (status.ok() && type != "function") continue;
    if (status.ok() && !wrapper.empty()) {
      const absl::StatusOr<element> function = NeededMember(tool, here, wrapper);
      here = absl::StrCat(here, ".", base::View(wrapper));
      status = function.ok() ? ReadObject(*function, here, &tool) : function.status();
    }
    if (status.ok()) status = ReadMember(tool, here, "name", &(*names)->emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status KeepAllowedTools(const std::vector<std::string>& names, service::ChatCall* call) {
  for (const std::string& name : names) {
    const bool known = std::any_of(call->tools.begin(), call->tools.end(),
                                   [&](const chat::ChatTool& tool) { return tool.name == name; });
    if (known) continue;
    return InvalidField("tool_choice",
                        absl::StrCat("`tool_choice` allows \"", name.substr(0, service::kMaxToolNameBytes),
                                     "\", which is none of the `tools`"));
  }
  std::vector<chat::ChatTool> tools;
  std::vector<bool> strict;
  for (size_t i = 0; i < call->tools.size(); ++i) {
    if (std::find(names.begin(), names.end(), call->tools[i].name) == names.end()) continue;
    tools.push_back(std::move(call->tools[i]));
    strict.push_back(i < call->strict_tools.size() && call->strict_tools[i]);
  }
  call->tools = std::move(tools);
  call->strict_tools = std::move(strict);
  return absl::OkStatus();
}

}  // namespace hadal::http
