// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace hadal::tls {

// A stream socket of any family: TCP, or one end of a socket pair.
using Socket = boost::asio::generic::stream_protocol::socket;

inline constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable);

// `fd` as a socket of that context, which owns it from then on. Closed when the kernel does not let it be watched.
inline Socket SocketOf(boost::asio::io_context* context, int fd, int family) {
  Socket socket(*context);
  boost::system::error_code error;
  if (socket.assign(boost::asio::generic::stream_protocol(family, 0), fd, error)) ::close(fd);
  return socket;
}

}  // namespace hadal::tls
