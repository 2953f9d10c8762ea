// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/flag_set.h"
#include "server/service/front_options.h"

namespace hadal::rpc {

struct GrpcOptions {
  service::FrontOptions front;
  int port = -1;  // -1: no separate port; 0 picks a free one
  int executor_threads = 1;

  // `front` registers its own.
  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("grpc-port", &port, {0, 65535}, "a separate port for gRPC", "same as --port");
  }
};

}  // namespace hadal::rpc
