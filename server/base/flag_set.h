// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::base {

// One setting: its name, and how its text is stored in a member of an options struct.
struct Flag {
  std::string name;  // without dashes in front
  std::string help;
  std::string default_text;                                  // for --help and --print-config
  std::function<absl::Status(const std::string& text)> set;  // called once for each text that was given
  std::string value_name;                                    // in --help: SIZE; empty: the last word of the name
  bool is_switch = false;                                    // --name alone means true
  bool repeatable = false;
  bool positional = false;        // arguments without a flag are also its values; at most one flag per program
  std::string group = "Options";  // the heading in --help; FlagSet sets it
};

enum class ValueSource { kDefault, kFile, kEnvironment, kFlag };

// The result of FlagSet::Parse, in addition to the values that it sets.
struct ParsedFlags {
  struct Value {
    std::string text;                // repeated values are joined by commas
    std::vector<std::string> given;  // the individual values; empty for a default
    ValueSource source = ValueSource::kDefault;
  };
  std::map<std::string, Value> values;  // values in effect, by flag name
  bool print_config = false;            // --print-config
  std::string help;                     // not empty: --help was asked for; print it and exit 0

  // The effective configuration as TOML, each line with the source of its value. It can be read back with --config:
  // defaults are comments, and so are URLs whose password is masked.
  std::string ToToml() const;
};

// The settings of a program. Each part registers the flags of its own options, whose values at that time are the
// defaults. A flag is also an environment variable and a key in --config FILE.toml; the precedence is flag,
// environment, file, default. Not thread-safe. The options that flags point to must outlive Parse.
class FlagSet {
 public:
  struct Environment {
    std::string prefix;               // "HADAL_": --max-body is HADAL_MAX_BODY
    std::vector<std::string> others;  // variables with that prefix that are not flags
  };
  explicit FlagSet(Environment environment) : environment_(std::move(environment)) {}

  struct Range {
    int64_t min, max;  // inclusive
  };
  // `default_text` is shown for a default that does not explain itself, such as "cores" for 0.
  template <typename Int>
  void AddInt(std::string name, Int* target, Range range, std::string help, std::string default_text = "");
  void AddText(std::string name, std::string* target, std::string help, std::string default_text = "");
  void AddChoice(std::string name, std::string* target, std::vector<std::string> choices, std::string help);
  template <typename Enum>
  void AddEnum(std::string name, Enum* target, std::vector<std::pair<std::string, Enum>> choices, std::string help,
               std::string default_text = "");
  // Takes true or false.
  void AddBool(std::string name, bool* target, std::string help);
  // --name alone means true; --name=false is possible.
  void AddSwitch(std::string name, bool* target, std::string help);
  // "auto" sets 0.
  void AddBytes(std::string name, int64_t* target, std::string help, std::string default_text = "");
  void AddDuration(std::string name, absl::Duration* target, std::string help);
  // Anything else.
  void Add(Flag flag);

  // Flags added from here on are listed under this heading in --help.
  void StartGroup(std::string heading) { group_ = std::move(heading); }

  // Sets the values from the arguments (after the subcommand), the environment and the file. InvalidArgument names the
  // flag, variable or key, what it accepts and what was found; for unknown names it suggests the nearest known one.
  // --help begins with `program`.
  absl::StatusOr<ParsedFlags> Parse(std::string_view program, const std::vector<std::string>& args) const;

 private:
  void AddInt64(std::string name, std::function<void(int64_t)> set, Range range, std::string help,
                std::string default_text);
  static std::string ValueNameOf(const std::vector<std::string>& choices);
  static absl::Status NoChoice(const std::vector<std::string>& choices, const std::string& text);

  const Environment environment_;
  std::vector<Flag> flags_;
  std::string group_ = Flag().group;
};

template <typename Int>
void FlagSet::AddInt(std::string name, Int* target, Range range, std::string help, std::string default_text) {
  if (default_text.empty()) default_text = std::to_string(*target);
  AddInt64(
      std::move(name), [target](int64_t value) { *target = static_cast<Int>(value); }, range, std::move(help),
      std::move(default_text));
}

template <typename Enum>
void FlagSet::AddEnum(std::string name, Enum* target, std::vector<std::pair<std::string, Enum>> choices,
                      std::string help, std::string default_text) {
  std::vector<std::string> names;
  for (const auto& [choice, value] : choices) {
    names.push_back(choice);
    if (default_text.empty() && value == *target) default_text = choice;
  }
  std::string value_name = ValueNameOf(names);
  Add({std::move(name), std::move(help), std::move(default_text),
       [target, names = std::move(names), choices = std::move(choices)](const std::string& text) -> absl::Status {
         for (const auto& [choice, value] : choices) {
           if (text != choice) continue;
           *target = value;
           return absl::OkStatus();
         }
         return NoChoice(names, text);
       },
       std::move(value_name)});
}

}  // namespace hadal::base
