// SPDX-License-Identifier: Apache-2.0
#include "server/commands/parse_answer.h"

#include <cstdio>
#include <string>
#include <vector>

#include "server/base/nearest_name.h"

namespace hadal::commands {
namespace {

// The flag as it was meant, if one is near: of the command, or of the subcommand that was named.
std::string NearestFlag(const CLI::App& app, const std::string& written) {
  std::vector<std::string> known;
  const auto add = [&](const CLI::App& one) {
    for (const CLI::Option* const option : one.get_options()) {
      known.insert(known.end(), option->get_lnames().begin(), option->get_lnames().end());
    }
  };
  add(app);
  for (const CLI::App* const named : app.get_subcommands()) add(*named);
  return base::NearestName(written.substr(2, written.find('=') - 2), known);
}

std::string Problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unread = app.remaining(/*recurse=*/true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr || unread.empty()) return error.what();
  const std::string& first = unread.front();
  if (!first.starts_with("--")) return "unexpected '" + first + "'";
  const std::string nearest = NearestFlag(app, first);
  return "unknown flag '" + first + "'" + (nearest.empty() ? "" : "; did you mean '--" + nearest + "'?");
}

}  // namespace

int AnswerParseError(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  const std::string name = app.get_name();
  std::fprintf(stderr, "%s: %s (%s --help lists what there is)\n", name.c_str(), Problem(app, error).c_str(),
               name.c_str());
  return 2;
}

}  // namespace hadal::commands
