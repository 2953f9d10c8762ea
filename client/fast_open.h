// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/channel_arguments.h>

namespace hadal::client {

// Whether UseFastOpen can do something: with gRPC 1.51, whose sockets can be reached.
bool CanFastOpen();
// Connections with these arguments use TCP Fast Open where the kernel has it (net.ipv4.tcp_fastopen): from the second
// one to a server on, the first bytes go with the SYN, and a round trip is saved. These are the beginning of HTTP/2 or
// TLS and never a call, which waits for the server's answer to them: that the network may deliver a SYN twice does no
// harm. Where kernel or server do not have it, connections are made as ever.
void UseFastOpen(grpc::ChannelArguments* arguments);

}  // namespace hadal::client
