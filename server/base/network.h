// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace hadal::base {

// The network by which clients are told apart: the /64 of an IPv6 address, since a host usually has a whole /64, else
// the address.
// `address`: its 4 or 16 bytes in network order; IPv4 inside IPv6 counts as IPv4.
std::string NetworkOf(absl::Span<const uint8_t> address);

// The network of a socket's peer; "unknown" if it has already disconnected.
std::string PeerNetwork(int socket);

// Whether the peer will send nothing more: it has closed the connection, or its half of it, or has disappeared.
bool PeerHungUp(int socket);

// Makes the kernel end a TCP connection if sent data is not acknowledged or read for `timeout` (at least 20 s), because
// the peer's host has disappeared or its program does not read. Does nothing for other sockets.
void SetAcknowledgeTimeout(int socket, absl::Duration timeout);

// What is known about the peer of a connection.
struct Peer {
  std::string network;
  bool lacks_certificate = false;  // the server asks for client certificates, and this client has shown none
};

}  // namespace hadal::base
