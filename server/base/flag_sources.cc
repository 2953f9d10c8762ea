// SPDX-License-Identifier: Apache-2.0
#include "server/base/flag_sources.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/read_file.h"
#include "server/base/nearest_name.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string Unknown(std::string_view what, std::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  return absl::StrCat("unknown ", View(what), " '", View(name), "'",
                      nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"));
}

std::string ValueName(const Flag& flag) {
  if (!flag.value_name.empty()) return flag.value_name;
  return absl::AsciiStrToUpper(View(std::string_view(flag.name).substr(flag.name.rfind('-') + 1)));
}

void Declare(const Flag& flag, CLI::App* app) {
  const std::string description = absl::StrCat(flag.help, " [", flag.default_text, "]");
  const std::string name = "--" + flag.name;
  if (flag.is_switch) {
    // Without a target of CLI11's: it would throw where the text is no boolean.
    app->add_flag(name, description)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group(flag.group);
    return;
  }
  CLI::Option* option = app->add_option_function<std::vector<std::string>>(
      name, [](const std::vector<std::string>&) {}, description);
  option->expected(1)->multi_option_policy(flag.repeatable ? CLI::MultiOptionPolicy::TakeAll
                                                           : CLI::MultiOptionPolicy::TakeLast);
  option->allow_extra_args(false)->type_name(ValueName(flag))->group(flag.group);
}

// CLI11 would put together a usage line of the options it knows; the positional ones are ours.
class HelpFormat : public CLI::Formatter {
 public:
  explicit HelpFormat(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return usage_; }

 private:
  const std::string usage_;
};

// Fills `arguments`, `file_name`, `print_config` and `help`.
absl::Status ReadArguments(std::string_view program, const std::vector<Flag>& flags,
                           const std::vector<std::string>& names, const std::vector<std::string>& args,
                           GivenValues* given) {
  CLI::App app;
  app.set_help_flag();  // our own, so that the caller prints it
  app.allow_extras();
  bool help = false;
  app.add_flag("-h,--help", help, "print this help");
  app.add_flag("--print-config", given->print_config, "print the effective configuration with its sources and exit");
  app.add_option("--config", given->file_name, "TOML file; unknown keys are refused")->type_name("FILE");
  for (const Flag& flag : flags) Declare(flag, &app);
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(error.what());
  }
  const auto positional = std::find_if(flags.begin(), flags.end(), [](const Flag& flag) { return flag.positional; });
  if (help) {
    app.formatter(std::make_shared<HelpFormat>(
        absl::StrCat("Usage: ", View(program), " [OPTIONS]",
                     positional == flags.end() ? "" : absl::StrCat(" [", ValueName(*positional), "]..."), "\n")));
    given->help = app.help();
    return absl::OkStatus();
  }
  for (const Flag& flag : flags) {
    const CLI::Option* option = app.get_option("--" + flag.name);
    if (option->count() > 0) given->arguments[flag.name] = option->results();
  }
  for (std::string_view extra : app.remaining()) {
    if (extra.starts_with("--")) {
      extra.remove_prefix(2);
      return absl::InvalidArgumentError(Unknown("flag", extra.substr(0, extra.find('=')), names));
    }
    if (positional == flags.end() || extra.starts_with("-")) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument '", View(extra), "'"));
    }
    given->arguments[positional->name].emplace_back(extra);
  }
  return absl::OkStatus();
}

absl::StatusOr<FlagTexts> ReadEnvironment(const std::vector<std::string>& names, const std::string& prefix,
                                          const std::vector<std::string>& other_variables) {
  FlagTexts texts;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with(prefix)) continue;
    const std::string_view variable = text.substr(0, text.find('='));
    const std::string flag =
        absl::StrReplaceAll(absl::AsciiStrToLower(View(variable.substr(prefix.size()))), {{"_", "-"}});
    if (Contains(names, flag)) {
      texts[flag] = {std::string(text.substr(variable.size() + 1))};
    } else if (!Contains(other_variables, variable)) {
      std::vector<std::string> variables;
      for (const std::string& name : names) variables.push_back(VariableName(prefix, name));
      return absl::InvalidArgumentError(Unknown("variable", variable, variables));
    }
  }
  return texts;
}

absl::StatusOr<FlagTexts> ReadToml(const std::string& path, const std::vector<std::string>& names) {
  FlagTexts texts;
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::InvalidArgumentError(absl::StrCat("--config: no file '", path, "'"));
  }
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("--config: ", text.status().message()));
  std::istringstream stream(*std::move(text));
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      const std::string key = absl::StrReplaceAll(item.fullname(), {{"_", "-"}});
      if (!Contains(names, key)) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": ", Unknown("key", item.fullname(), names)));
      }
      texts[key] = item.inputs;
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  return texts;
}

}  // namespace

std::string VariableName(std::string_view prefix, std::string_view flag) {
  return absl::StrCat(View(prefix), absl::StrReplaceAll(absl::AsciiStrToUpper(View(flag)), {{"-", "_"}}));
}

absl::StatusOr<GivenValues> ReadSources(std::string_view program, const std::vector<Flag>& flags,
                                        const std::vector<std::string>& args, const std::string& prefix,
                                        const std::vector<std::string>& other_variables) {
  std::vector<std::string> names = {"config"};
  for (const Flag& flag : flags) names.push_back(flag.name);
  GivenValues given;
  given.prefix = prefix;
  if (absl::Status status = ReadArguments(program, flags, names, args, &given); !status.ok()) return status;
  if (!given.help.empty()) return given;
  absl::StatusOr<FlagTexts> environment = ReadEnvironment(names, prefix, other_variables);
  if (!environment.ok()) return environment.status();
  given.environment = *std::move(environment);
  if (const auto config = given.environment.find("config");
      given.file_name.empty() && config != given.environment.end()) {
    given.file_name = config->second.front();
  }
  if (!given.file_name.empty()) {
    absl::StatusOr<FlagTexts> file = ReadToml(given.file_name, names);
    if (!file.ok()) return file.status();
    given.file = *std::move(file);
  }
  return given;
}

}  // namespace hadal::base
