// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/byte_stream.h"
#include "benchmarks/hadal_bench/client/target.h"

namespace hadal::bench {

// The first address of the target that accepts a connection, else its first; Unavailable when the host has none.
absl::StatusOr<boost::asio::ip::tcp::endpoint> ResolveAddress(boost::asio::io_context* io, const Target& target);

// Streams of the target's scheme.
absl::StatusOr<std::unique_ptr<StreamFactory>> StreamsFor(boost::asio::io_context* io, const Target& target);

}  // namespace hadal::bench
