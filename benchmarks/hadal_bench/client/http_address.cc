// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/http_address.h"

#include "absl/strings/str_cat.h"

namespace hadal::bench {

absl::StatusOr<boost::asio::ip::tcp::endpoint> ResolveAddress(boost::asio::io_context* io, const Target& target) {
  using tcp = boost::asio::ip::tcp;
  tcp::resolver resolver(*io);
  ErrorCode error;
  const auto found = resolver.resolve(target.host, std::to_string(target.port), error);
  if (error || found.empty()) {
    return absl::UnavailableError(absl::StrCat("cannot resolve the host '", target.host, "': ", error.message()));
  }
  if (found.size() == 1) return found.begin()->endpoint();
  // localhost has an IPv6 address that many servers do not listen on.
  for (const auto& entry : found) {
    tcp::socket socket(*io);
    socket.connect(entry.endpoint(), error);
    if (!error) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

absl::StatusOr<std::unique_ptr<StreamFactory>> StreamsFor(boost::asio::io_context* io, const Target& target) {
  if (target.tls()) return TlsStreams(io, target);
  return PlainStreams(io);
}

}  // namespace hadal::bench
