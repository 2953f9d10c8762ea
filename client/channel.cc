// SPDX-License-Identifier: Apache-2.0
#include "client/channel.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
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

}  // namespace

absl::Status CheckOptions(const ChannelOptions& options) {
  if (options.targets.empty()) return absl::InvalidArgumentError("a client needs at least one target, host:port");
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
  return std::make_shared<Connections>(options.targets, options.retry, CredentialsOf(options), IdentityOf(options),
                                       options.max_calls, options.keep_alive);
}

}  // namespace hadal::client
