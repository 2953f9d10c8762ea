// SPDX-License-Identifier: Apache-2.0
#include "server/base/flag_set.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/base/flag_sources.h"
#include "server/base/flag_values.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

std::function<absl::Status(const std::string&)> SetBool(bool* target) {
  return [target](const std::string& text) -> absl::Status {
    if (absl::SimpleAtob(text, target)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("expected true or false, found '", text, "'"));
  };
}

// A string of TOML: as it is in single quotes, where a backslash is nothing special, or with escapes where it has those
// itself.
std::string TomlText(const std::string& text) {
  if (text.find_first_of("\\\"") != std::string::npos && text.find('\'') == std::string::npos) {
    return absl::StrCat("'", text, "'");
  }
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

// The text with *** in place of the password of each URL in it: "redis://me:***@host".
std::string WithoutPasswords(std::string_view text) {
  static constexpr std::string_view kBegin = "://";
  std::string shown;
  for (size_t begin = text.find(kBegin); begin != text.npos; begin = text.find(kBegin)) {
    shown.append(text.substr(0, begin + kBegin.size()));
    text.remove_prefix(begin + kBegin.size());
    // A password may hold anything, so it ends at the last @ before the next URL.
    const size_t at = text.substr(0, text.find(kBegin)).rfind('@'), colon = text.find(':');
    if (at == text.npos || colon > at) continue;
    shown.append(text.substr(0, colon + 1)).append("***");
    text.remove_prefix(at);
  }
  return shown.append(text);
}

const char* BoolText(bool value) { return value ? "true" : "false"; }

// The texts that win for a flag, and how messages call the place they came from. Without texts: the default.
struct Given {
  ValueSource source = ValueSource::kDefault;
  std::string where;
  const std::vector<std::string>* texts = nullptr;
};

Given Find(const std::string& flag, const GivenValues& given) {
  if (const auto it = given.arguments.find(flag); it != given.arguments.end()) {
    return {ValueSource::kFlag, absl::StrCat("--", flag), &it->second};
  }
  if (const auto it = given.environment.find(flag); it != given.environment.end()) {
    return {ValueSource::kEnvironment, VariableName(given.prefix, flag), &it->second};
  }
  if (const auto it = given.file.find(flag); it != given.file.end()) {
    return {ValueSource::kFile, absl::StrCat(given.file_name, ": ", flag), &it->second};
  }
  return {};
}

}  // namespace

void FlagSet::Add(Flag flag) {
  flag.group = group_;
  flags_.push_back(std::move(flag));
}

void FlagSet::AddInt64(std::string name, std::function<void(int64_t)> set, Range range, std::string help,
                       std::string default_text) {
  Add({std::move(name), std::move(help), std::move(default_text),
       [set = std::move(set), range](const std::string& text) {
         const absl::StatusOr<int64_t> value = ParseInt(text, range.min, range.max);
         if (value.ok()) set(*value);
         return value.status();
       },
       "N"});
}

void FlagSet::AddText(std::string name, std::string* target, std::string help, std::string default_text) {
  if (default_text.empty()) default_text = *target;
  Add({std::move(name), std::move(help), std::move(default_text), [target](const std::string& text) {
         *target = text;
         return absl::OkStatus();
       }});
}

void FlagSet::AddChoice(std::string name, std::string* target, std::vector<std::string> choices, std::string help) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const std::string& choice : choices) values.emplace_back(choice, choice);
  AddEnum(std::move(name), target, std::move(values), std::move(help));
}

std::string FlagSet::ValueNameOf(const std::vector<std::string>& choices) {
  constexpr size_t kMaxBytes = 40;  // longer lists are for the help text alone
  std::string joined = absl::StrJoin(choices, "|");
  return joined.size() <= kMaxBytes ? joined : "";
}

absl::Status FlagSet::NoChoice(const std::vector<std::string>& choices, const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected one of ", absl::StrJoin(choices, ", "), ", found '", text, "'"));
}

void FlagSet::AddBool(std::string name, bool* target, std::string help) {
  Add({std::move(name), std::move(help), BoolText(*target), SetBool(target), "true|false"});
}

void FlagSet::AddSwitch(std::string name, bool* target, std::string help) {
  Add({.name = std::move(name),
       .help = std::move(help),
       .default_text = BoolText(*target),
       .set = SetBool(target),
       .is_switch = true});
}

void FlagSet::AddBytes(std::string name, int64_t* target, std::string help, std::string default_text) {
  if (default_text.empty()) default_text = BytesText(*target);
  Add({std::move(name), std::move(help), std::move(default_text),
       [target](const std::string& text) -> absl::Status {
         if (text == "auto") {
           *target = 0;
           return absl::OkStatus();
         }
         const absl::StatusOr<int64_t> bytes = ParseBytes(text);
         if (bytes.ok()) *target = *bytes;
         return bytes.status();
       },
       "SIZE"});
}

void FlagSet::AddDuration(std::string name, absl::Duration* target, std::string help) {
  Add({std::move(name), std::move(help), DurationText(*target),
       [target](const std::string& text) {
         const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
         if (duration.ok()) *target = *duration;
         return duration.status();
       },
       "DURATION"});
}

absl::StatusOr<ParsedFlags> FlagSet::Parse(std::string_view program, const std::vector<std::string>& args) const {
  absl::StatusOr<GivenValues> given = ReadSources(program, flags_, args, environment_.prefix, environment_.others);
  if (!given.ok()) return given.status();
  ParsedFlags parsed;
  parsed.print_config = given->print_config;
  parsed.help = std::move(given->help);
  if (!parsed.help.empty()) return parsed;
  for (const Flag& flag : flags_) {
    const Given found = Find(flag.name, *given);
    const std::string text = found.texts == nullptr ? flag.default_text : absl::StrJoin(*found.texts, ",");
    parsed.values[flag.name] = {.text = text, .source = found.source};
    if (found.texts == nullptr) continue;
    parsed.values[flag.name].given = *found.texts;
    for (const std::string& one : *found.texts) {
      if (absl::Status status = flag.set(one); !status.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(found.where, ": ", status.message()));
      }
    }
  }
  return parsed;
}

std::string ParsedFlags::ToToml() const {
  static constexpr std::string_view kSources[] = {"default", "file", "environment", "flag"};
  std::string out;
  for (const auto& [name, value] : values) {
    std::vector<std::string> texts;
    bool whole = true;
    for (const std::string& text : value.given.empty() ? std::vector<std::string>{value.text} : value.given) {
      const std::string shown = WithoutPasswords(text);
      whole = whole && shown == text;
      texts.push_back(TomlText(shown));
    }
    const bool is_default = value.source == ValueSource::kDefault;
    const std::string list = absl::StrJoin(texts, ", ");
    absl::StrAppend(&out, is_default || !whole ? "# " : "", name, " = ", texts.size() == 1 ? list : "[" + list + "]",
                    "  # ", View(kSources[static_cast<int>(value.source)]), whole ? "" : ", without its password",
                    "\n");
  }
  return out;
}

}  // namespace hadal::base
