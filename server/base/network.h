// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace hadal::base {

// The network that an IP address stands for: of IPv6 its /64, which a single host has to itself, else the address.
// `address`: its 4 or 16 bytes in network order; IPv4 inside IPv6 counts as IPv4.
std::string NetworkOf(absl::Span<const uint8_t> address);

// The network at the other end of a socket; "unknown" when it is gone already.
std::string PeerNetwork(int socket);

// The other end of a connection sends nothing more: it has closed it, or its half of it, or has gone.
bool PeerHungUp(int socket);

// Lets the kernel end a TCP connection when what was sent is not acknowledged or taken for so long, 20 s at least: its
// host has gone without a word, or its program does not read. Does nothing to other sockets.
void SetAcknowledgeTimeout(int socket, absl::Duration timeout);

// Who is at the other end of a connection, as far as its socket tells.
struct Peer {
  std::string network;
  bool lacks_certificate = false;  // the server asks for client certificates, and this client has shown none
};

}  // namespace hadal::base
