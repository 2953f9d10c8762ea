// SPDX-License-Identifier: Apache-2.0
#include "client/channel.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/fast_open.h"
#include "client/requests.h"

namespace hadal::client {
namespace {

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ChannelOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({options.tls_authorities, options.tls_key, options.tls_certificate});
}

Metadata IdentityOf(const ChannelOptions& options) {
  if (options.api_key.empty()) return {};
  return {{"authorization", absl::StrCat("Bearer ", options.api_key)}};
}

// A server is also known by its URL, as curl and the Python client take it; gRPC would look the scheme up as a host.
constexpr std::string_view kHttp = "http://", kHttps = "https://";

absl::Status CheckTarget(const std::string& target, bool tls) {
  const bool http = target.starts_with(kHttp), https = target.starts_with(kHttps);
  if (!http && !https) return absl::OkStatus();
  const std::string named = absl::StrCat("the target ", target);
  std::string_view server = std::string_view(target).substr(http ? kHttp.size() : kHttps.size());
  if (server.ends_with('/')) server.remove_suffix(1);
  if (server.empty()) return absl::InvalidArgumentError(absl::StrCat(named, " names no host"));
  if (server.find('/') != server.npos) {
    return absl::InvalidArgumentError(absl::StrCat(named, " has a path; gRPC needs none: host:port"));
  }
  if (https && !tls) return absl::InvalidArgumentError(absl::StrCat(named, " needs tls = true"));
  if (http && tls) return absl::InvalidArgumentError(absl::StrCat(named, " is without TLS, but tls is true"));
  return absl::OkStatus();
}

// What gRPC connects to; `target` has passed CheckTarget.
std::string AddressOf(std::string_view target) {
  const bool http = target.starts_with(kHttp);
  if (!http && !target.starts_with(kHttps)) return std::string(target);
  target.remove_prefix(http ? kHttp.size() : kHttps.size());
  if (target.ends_with('/')) target.remove_suffix(1);
  // Without a port gRPC takes that of https.
  const size_t host_end = target.find(']') == target.npos ? 0 : target.find(']');
  const bool port = target.find(':', host_end) != target.npos;
  return std::string(target) + (http && !port ? ":80" : "");
}

absl::Status CheckHedging(const HedgingOptions& options) {
  if (options.delay < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("hedging.delay is ", absl::FormatDuration(options.delay), "; it must be 0 or more"));
  }
  if (!(options.quantile >= 0 && options.quantile < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("hedging.quantile is ", options.quantile, "; it must be 0 or more, and below 1"));
  }
  if (!(options.max_share >= 0 && options.max_share <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("hedging.max_share is ", options.max_share, "; it must be from 0 to 1"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const ChannelOptions& options) {
  if (options.targets.empty()) return absl::InvalidArgumentError("a client needs at least one target, host:port");
  for (const std::string& target : options.targets) {
    if (absl::Status status = CheckTarget(target, options.tls); !status.ok()) return status;
  }
  if (!FitsMetadata(options.api_key)) {
    return absl::InvalidArgumentError("api_key must be printable ASCII; a line end behind it, as of a file, counts");
  }
  if (options.max_calls < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_calls is ", options.max_calls, "; it must be 0 or more"));
  }
  if (options.keep_alive < absl::Seconds(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("keep_alive is ", absl::FormatDuration(options.keep_alive), "; it must be 1s or more"));
  }
  if (absl::Status status = CheckHedging(options.retry.hedging); !status.ok()) return status;
  if (options.tcp_fast_open && !CanFastOpen()) {
    return absl::UnimplementedError("tcp_fast_open needs gRPC 1.51: another version's sockets cannot be reached");
  }
  const bool certificate = !options.tls_certificate.empty(), key = !options.tls_key.empty();
  if (certificate != key) {
    return absl::InvalidArgumentError("tls_certificate and tls_key are given together, or neither is");
  }
  if (!options.tls && (certificate || !options.tls_authorities.empty())) {
    return absl::InvalidArgumentError("tls_authorities, tls_certificate and tls_key need tls = true");
  }
  return absl::OkStatus();
}

std::shared_ptr<Connections> OpenConnections(const ChannelOptions& options) {
  std::vector<std::string> addresses;
  for (const std::string& target : options.targets) addresses.push_back(AddressOf(target));
  auto connections =
      std::make_shared<Connections>(addresses, options.retry, CredentialsOf(options), IdentityOf(options),
                                    options.max_calls, options.keep_alive, options.tcp_fast_open);
  if (options.connect_ahead) connections->ConnectAhead();
  return connections;
}

}  // namespace hadal::client
