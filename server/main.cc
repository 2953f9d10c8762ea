// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <vector>

#include "server/base/nearest_name.h"
#include "server/base/process_limits.h"
#include "server/commands/commands.h"

namespace {

constexpr char kUsage[] =
    "hadal: inference server for DeepSeek models\n"
    "\n"
    "  hadal serve [flags]    serve models over gRPC and the OpenAI API (hadal serve --help)\n"
    "  hadal worker [flags]   hold later layers of a model that hadal serve has on several hosts\n"
    "  hadal plan [flags]     check a configuration and print its memory plan; loads nothing\n"
    "  hadal chat [flags]     talk to a server in the terminal\n"
    "  hadal batch [flags]    submit files of requests that are answered when the server has capacity\n"
    "  hadal top [servers]    watch the load of servers in the terminal\n"
    "  hadal health [flags]   exit code 0 when a server is up; for container health checks\n"
    "  hadal version\n";

}  // namespace

int main(int argc, char** argv) {
  namespace commands = hadal::commands;
  hadal::base::ExitWhenExhausted();
  const std::vector<std::string> args(argv + 1, argv + argc);
  const bool help_of_one = args.size() > 1 && args[0] == "help";
  if (args.empty() || args[0] == "--help" || args[0] == "-h" || (args[0] == "help" && !help_of_one)) {
    std::fputs(kUsage, args.empty() ? stderr : stdout);
    return args.empty() ? 2 : 0;
  }
  const std::string& command = args[help_of_one ? 1 : 0];
  const std::vector<std::string> rest =
      help_of_one ? std::vector<std::string>{"--help"} : std::vector<std::string>(args.begin() + 1, args.end());
  if (command == "serve") return commands::Serve(rest);
  if (command == "worker") return commands::Worker(rest);
  if (command == "plan") return commands::Plan(rest);
  if (command == "chat") return commands::Chat(rest);
  if (command == "batch") return commands::Batch(rest);
  if (command == "top") return commands::Top(rest);
  if (command == "health") return commands::Health(rest);
  if (command == "version" || command == "--version") return commands::Version();
  const std::string nearest =
      hadal::base::NearestName(command, {"serve", "worker", "plan", "chat", "batch", "top", "health", "version"});
  std::fprintf(stderr, "hadal: unknown command '%s'%s\n", command.c_str(),
               nearest.empty() ? "; see hadal --help" : ("; did you mean '" + nearest + "'?").c_str());
  return 2;
}
