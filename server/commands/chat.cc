// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/read_file.h"
#include "client/client.h"
#include "server/base/process_limits.h"
#include "server/commands/commands.h"
#include "server/commands/parse_answer.h"

namespace hadal::commands {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;
// What the gRPC library opens and starts: it aborts without event descriptors, and waits for ever for lost threads.
constexpr int kGrpcDescriptors = 16;
constexpr int kGrpcThreads = 8;

volatile std::sig_atomic_t g_interrupted = 0;

// Writes the pieces of an answer as they come; the reasoning is dimmed on a terminal.
class Printer {
 public:
  explicit Printer(bool terminal, bool show_reasoning) : terminal_(terminal), show_reasoning_(show_reasoning) {}

  void Print(std::string_view reasoning, std::string_view text) {
    if (!reasoning.empty() && show_reasoning_) {
      if (!in_reasoning_ && terminal_) std::fputs("\033[2m", stdout);
      in_reasoning_ = true;
      std::fwrite(reasoning.data(), 1, reasoning.size(), stdout);
    }
    if (!text.empty()) {
      if (in_reasoning_) {
        std::fputs(terminal_ ? "\033[0m\n" : "\n", stdout);
        in_reasoning_ = false;
      }
      if (!answered_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
      answered_ = answered_ || !text.empty();
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    std::fflush(stdout);
  }

  void End() {
    std::fputs(in_reasoning_ && terminal_ ? "\033[0m\n" : "\n", stdout);
    std::fflush(stdout);
  }

 private:
  const bool terminal_;
  const bool show_reasoning_;
  bool in_reasoning_ = false;
  bool answered_ = false;
};

int CannotStart(const absl::Status& status) {
  std::fprintf(stderr, "hadal chat: %s\n", std::string(status.message()).c_str());
  return 2;
}

// What the command line says.
struct Arguments {
  client::ChannelOptions channel;
  client::ChatOptions options;
  std::string system;
  std::string thinking;
  std::string authorities, certificate, key;  // paths
  std::vector<std::string> question;          // its words; empty: lines are read
  bool hide_reasoning = false;
};

void Register(CLI::App& app, Arguments& to) {
  app.add_option("--server", to.channel.targets,
                 "HOST:PORT, or http:// or https:// and that; several, with commas: the least loaded is asked "
                 "[127.0.0.1:8000]")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--api-key", to.channel.api_key, "bearer key")->envname("HADAL_API_KEY");
  app.add_flag("--tls", to.channel.tls, "speak TLS");
  app.add_option("--tls-ca", to.authorities,
                 "PEM file of the authorities that may sign the server's certificate [the system's]");
  app.add_option("--tls-cert", to.certificate, "PEM file with a client certificate");
  app.add_option("--tls-key", to.key, "PEM file with its key");
  app.add_option("--model", to.options.model, "model name [the server's first]");
  app.add_option("--system", to.system, "system prompt");
  app.add_option("--temperature", to.options.temperature, "0 to 2 [the model's default]")->check(CLI::Range(0.0, 2.0));
  app.add_option("--max-tokens", to.options.max_tokens, "longest answer [what the context leaves]");
  app.add_option("--thinking", to.thinking, "on or off [the model's default]")->check(CLI::IsMember({"on", "off"}));
  app.add_option("--priority", to.options.priority, "high, normal, low or batch [normal]");
  app.add_flag("--hide-reasoning", to.hide_reasoning, "print the answer only");
  app.add_option("question", to.question, "asked once instead of reading lines");
}

// Whether TLS is asked for, by --tls, an address or a file with certificates, and what those files hold.
absl::Status ReadTls(Arguments& arguments) {
  client::ChannelOptions& channel = arguments.channel;
  for (const std::string& target : channel.targets) channel.tls |= target.starts_with("https://");
  for (const auto& [path, text] :
       {std::pair(&arguments.authorities, &channel.tls_authorities),
        std::pair(&arguments.certificate, &channel.tls_certificate), std::pair(&arguments.key, &channel.tls_key)}) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> read = base::ReadFile(*path, kMaxPemBytes);
    if (!read.ok()) return read.status();
    *text = *std::move(read);
    channel.tls = true;
  }
  return absl::OkStatus();
}

absl::Status CheckGrpcLimits() {
  if (absl::Status status = base::CheckDescriptors(kGrpcDescriptors); !status.ok()) return status;
  return base::CheckThreads(kGrpcThreads);
}

// Asks once; appends the answer to the history. False when the call failed.
bool Ask(client::Client& client, client::ChatOptions& options, const std::string& question, bool terminal,
         bool show_reasoning) {
  options.messages.push_back({"user", question});
  Printer printer(terminal, show_reasoning);
  g_interrupted = 0;
  const auto result = client.Chat(options, [&](std::string_view reasoning, std::string_view text) {
    printer.Print(reasoning, text);
    return g_interrupted == 0;
  });
  printer.End();
  if (!result.ok()) {
    options.messages.pop_back();
    if (absl::IsCancelled(result.status())) {
      std::fputs("(stopped)\n", stderr);
      return true;
    }
    std::fprintf(stderr, "hadal chat: %s\n", std::string(result.status().message()).c_str());
    return false;
  }
  if (result->finish_reason == "length") std::fputs("(cut: the token limit was reached)\n", stderr);
  options.messages.push_back({"assistant", result->text});
  return true;
}

// Asks what is read, line by line, until the end of the input. Returns the exit code: on a terminal a failed question
// has been seen, so only a script is told of its last one.
int AskLines(client::Client& client, Arguments& arguments, bool terminal) {
  const bool prompt = isatty(STDIN_FILENO) != 0;
  const std::vector<client::Message> beginning = arguments.options.messages;
  bool failed = false;
  std::string line;
  while (true) {
    if (prompt) std::fputs("> ", stdout), std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/quit") break;
    if (line.empty()) continue;
    if (line == "/new") {
      arguments.options.messages = beginning;
      continue;
    }
    failed = !Ask(client, arguments.options, line, terminal, !arguments.hide_reasoning);
  }
  if (prompt) std::fputs("\n", stdout);
  return failed && !prompt ? 1 : 0;
}

}  // namespace

int Chat(const std::vector<std::string>& args) {
  CLI::App app{
      "hadal chat: talks to a server over gRPC. With a question it answers once; without, it reads lines: /new starts "
      "over, /quit leaves, Ctrl-C stops an answer.",
      "hadal chat"};
  Arguments arguments;
  Register(app, arguments);
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return AnswerParseError(app, error);
  }
  if (absl::Status status = ReadTls(arguments); !status.ok()) return CannotStart(status);
  client::ChatOptions& options = arguments.options;
  if (!arguments.thinking.empty()) options.thinking = arguments.thinking == "on" ? 1 : 0;
  if (!arguments.system.empty()) options.messages.push_back({"system", arguments.system});
  if (absl::Status status = CheckGrpcLimits(); !status.ok()) return CannotStart(status);
  struct sigaction action = {};
  action.sa_handler = [](int) { g_interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);  // no SA_RESTART: Ctrl-C at the prompt ends the read

  const absl::StatusOr<std::unique_ptr<client::Client>> client = client::Client::Connect(arguments.channel);
  if (!client.ok()) return CannotStart(client.status());
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  if (arguments.question.empty()) return AskLines(**client, arguments, terminal);
  const std::string question = absl::StrJoin(arguments.question, " ");
  return Ask(**client, options, question, terminal, !arguments.hide_reasoning) ? 0 : 1;
}

}  // namespace hadal::commands
