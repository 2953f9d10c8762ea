// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hadal::bench {

enum class Scheme { kHttp, kHttps, kGrpc, kGrpcs };

// Where a server is, and which certificates are taken from it.
struct Target {
  Scheme scheme = Scheme::kHttp;
  std::string host;  // without the brackets of an IPv6 address
  uint16_t port = 80;
  std::string base_path;  // in front of /v1, without a slash at the end; empty: none
  // Where the URL names the call itself, as Azure and others need it: its path with the query, that of the list of
  // models beside it, and whether it is a chat. Empty: /v1 under base_path.
  std::string call_path, models_path;
  bool call_is_chat = true;

  bool insecure = false;  // TLS with any certificate
  std::string ca_file;    // PEM file with who may sign its certificate; empty: whom the system trusts

  bool grpc() const { return scheme == Scheme::kGrpc || scheme == Scheme::kGrpcs; }
  bool tls() const { return scheme == Scheme::kHttps || scheme == Scheme::kGrpcs; }
  std::string Authority() const;  // host:port
  std::string HostField() const;  // the Host header: without the port that the scheme has anyway
  std::string CallPath(bool chat) const;
  std::string ModelsPath() const;
};

// Parses "http://host:port", "https://host", "grpc://host:port", "grpcs://host:port" (gRPC under TLS) or "host:port"
// (HTTP). A path that ends in /v1 is taken for the base URL of an OpenAI client, so its /v1 is dropped. One that
// ends in /chat/completions or /completions is the call itself, and may have a query.
// InvalidArgument names what is wrong.
absl::StatusOr<Target> ParseTarget(std::string_view url);

}  // namespace hadal::bench
