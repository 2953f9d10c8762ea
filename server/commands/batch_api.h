// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/upstream/curl_library.h"

namespace hadal::commands {

struct BatchApiOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;  // sent as a bearer key when not empty
  std::string ca_file;  // authorities that may sign the server's certificate; empty: those of the system
  bool insecure = false;
};

// The routes of files and batches (docs/api.md), for the command line: each call blocks until the server has answered,
// or for half a minute without a byte. Errors carry the server's message. Not thread-safe.
class BatchApi {
 public:
  // FailedPrecondition when libcurl is not installed.
  static absl::StatusOr<BatchApi> Create(BatchApiOptions options);

  // Sends the file from the disk as it is read; the server's description of it. NotFound when it cannot be read.
  absl::StatusOr<nlohmann::json> Upload(const std::string& path);
  absl::StatusOr<nlohmann::json> Get(const std::string& path);
  absl::StatusOr<nlohmann::json> Post(const std::string& path, const nlohmann::json& body);
  // Writes what the server sends to `out` as it comes. What breaks off goes on where it was, until six attempts in a
  // row have brought nothing.
  absl::Status Download(const std::string& path, std::FILE* out);

 private:
  class Request;

  BatchApi(BatchApiOptions options, const upstream::CurlLibrary* curl) : options_(std::move(options)), curl_(curl) {}

  BatchApiOptions options_;
  const upstream::CurlLibrary* curl_;
};

}  // namespace hadal::commands
