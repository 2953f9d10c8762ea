// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/target.h"

namespace hadal::bench {

using ErrorCode = boost::system::error_code;

// A connection's bytes, plain or under TLS. Used on the thread of its io_context. Buffers and the stream itself must
// live until the handler has run; Close makes every handler run soon.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual void Connect(const boost::asio::ip::tcp::endpoint& endpoint, std::function<void(ErrorCode)> done) = 0;
  virtual void ReadSome(char* data, size_t bytes, std::function<void(ErrorCode, size_t)> done) = 0;
  virtual void Write(const char* data, size_t bytes, std::function<void(ErrorCode)> done) = 0;
  virtual void Close() = 0;
  // Whether a connection that nobody reads is still usable: the other end neither closed it nor sent anything.
  virtual bool IdleUsable() = 0;
};

// Makes streams of one kind.
class StreamFactory {
 public:
  virtual ~StreamFactory() = default;
  virtual std::unique_ptr<ByteStream> Make() = 0;
};

std::unique_ptr<StreamFactory> PlainStreams(boost::asio::io_context* io);
// Certificates are checked as the target says. FailedPrecondition when who may sign them cannot be read.
absl::StatusOr<std::unique_ptr<StreamFactory>> TlsStreams(boost::asio::io_context* io, const Target& target);

// Whether the peer of an idle socket has closed it or sent something.
bool SocketQuiet(boost::asio::ip::tcp::socket& socket);

}  // namespace hadal::bench
