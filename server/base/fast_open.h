// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hadal::base {

// TCP Fast Open on a socket that is going to listen: a client that connects again may send its first bytes with the
// SYN; up to `waiting` such connections may be unfinished. Logs a warning of `component` where the kernel does not
// allow it to servers (net.ipv4.tcp_fastopen, 2); the socket then serves without.
void OfferFastOpen(int socket, int waiting, std::string_view component);

}  // namespace hadal::base
