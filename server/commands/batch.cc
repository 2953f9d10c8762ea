// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/notification.h"
#include "server/commands/batch_api.h"
#include "server/commands/commands.h"
#include "server/commands/parse_answer.h"

namespace hadal::commands {
namespace {

using nlohmann::json;

constexpr absl::Duration kPoll = absl::Seconds(1);

// Text and number of a description's field; "" and 0 where it is null.
std::string Text(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}
int64_t Number(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

bool HasEnded(const json& batch) {
  const std::string status = Text(batch, "status");
  return status == "completed" || status == "failed" || status == "expired" || status == "cancelled";
}

// One line a batch: id, state, how many lines have ended, failed and are there.
void Print(const json& batch) {
  const json counts = batch.value("request_counts", json::object());
  std::printf("%s  %-11s  %ld of %ld answered, %ld failed\n", Text(batch, "id").c_str(), Text(batch, "status").c_str(),
              static_cast<long>(Number(counts, "completed")), static_cast<long>(Number(counts, "total")),
              static_cast<long>(Number(counts, "failed")));
  const auto errors = batch.find("errors");
  if (errors == batch.end() || !errors->is_object()) return;
  for (const json& error : errors->value("data", json::array())) {
    if (error.is_object()) {
      std::printf("  line %ld: %s\n", static_cast<long>(Number(error, "line")), Text(error, "message").c_str());
    }
  }
}

// The route that a file's first line names; all its lines must name that of the batch.
absl::StatusOr<std::string> EndpointIn(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return absl::NotFoundError(absl::StrCat(path, " cannot be read, or is empty"));
  const json first = json::parse(line, nullptr, /*allow_exceptions=*/false);
  const std::string url = first.is_object() ? Text(first, "url") : "";
  if (url.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": line 1 is no request, {\"custom_id\", \"method\", \"url\", \"body\"}"));
  }
  return url;
}

absl::StatusOr<json> WaitUntilEnded(BatchApi& api, const std::string& id) {
  base::Notification stopped;  // by nobody: Ctrl-C ends the process
  while (true) {
    absl::StatusOr<json> batch = api.Get("/v1/batches/" + id);
    if (!batch.ok() || HasEnded(*batch)) return batch;
    stopped.WaitFor(kPoll);
  }
}

struct SubmitOptions {
  std::string file, endpoint;
  std::vector<std::string> metadata;  // NAME=VALUE
  bool wait = false;
};

absl::Status Submit(BatchApi& api, const SubmitOptions& options) {
  std::string endpoint = options.endpoint;
  if (endpoint.empty()) {
    absl::StatusOr<std::string> found = EndpointIn(options.file);
    if (!found.ok()) return found.status();
    endpoint = *std::move(found);
  }
  json metadata = json::object();
  for (const std::string& pair : options.metadata) {
    const size_t equals = pair.find('=');
    if (equals == pair.npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--metadata is ", pair, ", not NAME=VALUE"));
    }
    metadata[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  const absl::StatusOr<json> file = api.Upload(options.file);
  if (!file.ok()) return file.status();
  absl::StatusOr<json> batch = api.Post("/v1/batches", {{"input_file_id", Text(*file, "id")},
                                                        {"endpoint", endpoint},
                                                        {"completion_window", "24h"},
                                                        {"metadata", std::move(metadata)}});
  if (batch.ok() && options.wait) {
    std::fprintf(stderr, "hadal batch: %s runs; Ctrl-C stops the waiting, not the batch\n", Text(*batch, "id").c_str());
    batch = WaitUntilEnded(api, Text(*batch, "id"));
  }
  if (!batch.ok()) return batch.status();
  Print(*batch);
  const bool failed = HasEnded(*batch) && Text(*batch, "status") != "completed";
  return failed ? absl::AbortedError(absl::StrCat("the batch is ", Text(*batch, "status"))) : absl::OkStatus();
}

absl::Status ShowAll(BatchApi& api) {
  std::string after;
  while (true) {
    const absl::StatusOr<json> page = api.Get(absl::StrCat("/v1/batches?limit=100", after));
    if (!page.ok()) return page.status();
    for (const json& batch : page->value("data", json::array())) Print(batch);
    if (!page->value("has_more", false)) return absl::OkStatus();
    after = absl::StrCat("&after=", Text(*page, "last_id"));
  }
}

absl::Status Show(BatchApi& api, const std::vector<std::string>& ids) {
  if (ids.empty()) return ShowAll(api);
  for (const std::string& id : ids) {
    const absl::StatusOr<json> batch = api.Get("/v1/batches/" + id);
    if (!batch.ok()) return batch.status();
    Print(*batch);
  }
  return absl::OkStatus();
}

// Writes a file of the server's to a file here, or to the standard output for "-".
absl::Status Fetch(BatchApi& api, const std::string& id, const std::string& path) {
  if (path == "-") return api.Download(absl::StrCat("/v1/files/", id, "/content"), stdout);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen(path.c_str(), "wb"), &std::fclose);
  if (out == nullptr) return absl::NotFoundError(absl::StrCat(path, " cannot be written"));
  if (absl::Status status = api.Download(absl::StrCat("/v1/files/", id, "/content"), out.get()); !status.ok()) {
    return status;
  }
  return std::fflush(out.get()) == 0 ? absl::OkStatus() : absl::InternalError(absl::StrCat(path, " is not whole"));
}

struct GetOptions {
  std::string id, output = "-", errors;
  bool wait = false;
};

absl::Status Get(BatchApi& api, const GetOptions& options) {
  absl::StatusOr<json> batch = options.wait ? WaitUntilEnded(api, options.id) : api.Get("/v1/batches/" + options.id);
  if (!batch.ok()) return batch.status();
  if (!HasEnded(*batch)) {
    return absl::UnavailableError(
        absl::StrCat(options.id, " is ", Text(*batch, "status"), "; --wait waits for its end"));
  }
  const std::string output = Text(*batch, "output_file_id"), errors = Text(*batch, "error_file_id");
  if (!output.empty()) {
    if (absl::Status status = Fetch(api, output, options.output); !status.ok()) return status;
  }
  if (errors.empty()) return absl::OkStatus();
  if (!options.errors.empty()) return Fetch(api, errors, options.errors);
  const json counts = batch->value("request_counts", json::object());
  std::fprintf(stderr, "hadal batch: %ld lines have no answer; --errors FILE says why\n",
               static_cast<long>(Number(counts, "total") - Number(counts, "completed")));
  return absl::OkStatus();
}

absl::Status Cancel(BatchApi& api, const std::string& id) {
  const absl::StatusOr<json> batch = api.Post(absl::StrCat("/v1/batches/", id, "/cancel"), json::object());
  if (!batch.ok()) return batch.status();
  Print(*batch);
  return absl::OkStatus();
}

}  // namespace

int Batch(const std::vector<std::string>& args) {
  CLI::App app{
      "hadal batch: submit a file of requests, which are answered when the server has capacity. Requests and answers "
      "are in the format of OpenAI's Batch API, one per line.",
      "hadal batch"};
  BatchApiOptions server;
  app.add_option("--url", server.url, "the server, http:// or https:// [http://127.0.0.1:8000]");
  app.add_option("--api-key", server.api_key, "bearer key")->envname("HADAL_API_KEY");
  CLI::Option* const authorities = app.add_option(
      "--tls-ca", server.ca_file, "PEM file of the authorities that may sign the server's certificate [the system's]");
  app.add_flag("--insecure", server.insecure, "take any certificate")->excludes(authorities);
  app.require_subcommand(1);
  app.fallthrough();

  SubmitOptions submit;
  CLI::App* const submit_command = app.add_subcommand("submit", "send a file and start its batch");
  submit_command->add_option("file", submit.file, "JSON lines")->required();
  submit_command->add_option("--endpoint", submit.endpoint, "route of all lines [that of the first line]");
  submit_command->add_option("--metadata", submit.metadata, "NAME=VALUE to keep with the batch; repeat it for several");
  submit_command->add_flag("--wait", submit.wait,
                           "return when the batch has ended; exit code 1 if it did not complete");
  std::vector<std::string> shown;
  CLI::App* const status_command = app.add_subcommand("status", "show how far batches are");
  status_command->add_option("ids", shown, "batches [all]");
  GetOptions get;
  CLI::App* const get_command = app.add_subcommand("get", "fetch the answers of a batch that has ended");
  get_command->add_option("id", get.id, "batch")->required();
  get_command->add_option("--output", get.output, "file for the answers [standard output]");
  get_command->add_option("--errors", get.errors, "file for lines without an answer, with the reason [not fetched]");
  get_command->add_flag("--wait", get.wait, "wait for its end");
  std::string cancelled;
  CLI::App* const cancel_command = app.add_subcommand("cancel", "end a batch; what has been answered stays");
  cancel_command->add_option("id", cancelled, "batch")->required();
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return AnswerParseError(app, error);
  }

  absl::StatusOr<BatchApi> api = BatchApi::Create(std::move(server));
  absl::Status status = api.status();
  if (status.ok() && *submit_command) status = Submit(*api, submit);
  if (status.ok() && *status_command) status = Show(*api, shown);
  if (status.ok() && *get_command) status = Get(*api, get);
  if (status.ok() && *cancel_command) status = Cancel(*api, cancelled);
  if (status.ok()) return 0;
  std::fprintf(stderr, "hadal batch: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace hadal::commands
