// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zmq.h>

#include <string>

#include "absl/status/statusor.h"

namespace hadal::kv_events {

// The functions of libzmq that are used. The library is opened when events are asked for: a server without them neither
// loads it nor needs it.
struct ZmqLibrary {
  decltype(&::zmq_ctx_new) ctx_new;
  decltype(&::zmq_ctx_term) ctx_term;
  decltype(&::zmq_socket) socket;
  decltype(&::zmq_close) close;
  decltype(&::zmq_setsockopt) setsockopt;
  decltype(&::zmq_getsockopt) getsockopt;
  decltype(&::zmq_bind) bind;
  decltype(&::zmq_connect) connect;
  decltype(&::zmq_poll) poll;
  decltype(&::zmq_send) send;
  decltype(&::zmq_msg_init) msg_init;
  decltype(&::zmq_msg_init_data) msg_init_data;
  decltype(&::zmq_msg_send) msg_send;
  decltype(&::zmq_msg_recv) msg_recv;
  decltype(&::zmq_msg_close) msg_close;
  decltype(&::zmq_msg_data) msg_data;
  decltype(&::zmq_msg_size) msg_size;
  decltype(&::zmq_msg_more) msg_more;
  decltype(&::zmq_errno) error;
  decltype(&::zmq_strerror) error_text;

  std::string LastError() const { return error_text(error()); }
};

// Opens libzmq.so.5, once; it stays open. FailedPrecondition names the package that is missing. Thread-safe.
absl::StatusOr<const ZmqLibrary*> LoadZmq();

}  // namespace hadal::kv_events
