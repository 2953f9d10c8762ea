// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "server/commands/commands.h"
#include "server/commands/http_get.h"
#include "server/commands/parse_answer.h"

namespace hadal::commands {

int Health(const std::vector<std::string>& args) {
  CLI::App app{"hadal health: asks a server for its health; exit code 0 is healthy", "hadal health"};
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string check = "live";
  double timeout_s = 5;
  app.add_option("--host", host, "server address [127.0.0.1]");
  app.add_option("--port", port, "server port [8000]")->envname("HADAL_PORT");
  app.add_option("--check", check, "live, ready or startup [live]")->check(CLI::IsMember({"live", "ready", "startup"}));
  bool tls = false;
  std::string ca_file;
  app.add_flag("--tls", tls, "speak TLS; so it is, too, when HADAL_TLS_CERT is set");
  app.add_option("--tls-ca", ca_file,
                 "PEM file of the authorities that may sign the server's certificate [it is not checked]");
  app.add_option("--timeout", timeout_s, "seconds [5]");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return AnswerParseError(app, error);
  }

  // The image's health check has the server's environment.
  const char* const certificate = std::getenv("HADAL_TLS_CERT");
  tls = tls || !ca_file.empty() || (certificate != nullptr && *certificate != '\0');
  const absl::StatusOr<TlsTrust> trust = ca_file.empty() ? TlsTrust::Everybody() : TlsTrust::Authorities(ca_file);
  if (!trust.ok()) {
    std::fprintf(stderr, "hadal health: --tls-ca: %s\n", std::string(trust.status().message()).c_str());
    return 2;
  }
  const absl::StatusOr<HttpReply> reply =
      HttpGet(host, port, "/health/" + check, absl::Seconds(timeout_s), tls ? &*trust : nullptr);
  if (!reply.ok()) {
    const std::string reason(reply.status().message());
    std::fprintf(stderr, "hadal health: %s:%s does not answer: %s\n", host.c_str(), port.c_str(), reason.c_str());
    return 1;
  }
  std::printf("%s\n", reply->body.c_str());
  return reply->status == 200 ? 0 : 1;
}

}  // namespace hadal::commands
