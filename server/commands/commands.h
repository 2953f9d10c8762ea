// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace hadal::commands {

// The subcommands of `hadal`. Each takes the arguments after its name and returns the process's exit code: 0 for
// success, 1 for a failure that was explained in one line on standard error, 2 for wrong usage.

int Serve(const std::vector<std::string>& args);   // serve.cc
int Plan(const std::vector<std::string>& args);    // plan.cc: memory plan of a configuration, loads no weights
int Worker(const std::vector<std::string>& args);  // worker.cc: later layers of a server's model
int Chat(const std::vector<std::string>& args);    // chat.cc: terminal client over gRPC
int Batch(const std::vector<std::string>& args);   // batch.cc: files of requests for later
int Top(const std::vector<std::string>& args);     // top/top.cc: load of servers in the terminal
int Health(const std::vector<std::string>& args);  // health.cc: for container health checks
int Version();                                     // version.cc

inline constexpr char kVersion[] = "0.1.0";

}  // namespace hadal::commands
