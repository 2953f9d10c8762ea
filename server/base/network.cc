// SPDX-License-Identifier: Apache-2.0
#include "server/base/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <climits>

#include "server/base/check.h"

namespace hadal::base {

std::string NetworkOf(absl::Span<const uint8_t> address) {
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  HADAL_CHECK(address.size() == 4 || address.size() == 16) << "NetworkOf: " << address.size() << " bytes";
  if (address.size() == 16 && std::equal(kMapped.begin(), kMapped.end(), address.begin())) {
    address.remove_prefix(kMapped.size());
  }
  char text[INET6_ADDRSTRLEN] = "";
  if (address.size() == 4) return ::inet_ntop(AF_INET, address.data(), text, sizeof(text));
  std::array<uint8_t, 16> network{};
  std::copy_n(address.begin(), 8, network.begin());
  return std::string(::inet_ntop(AF_INET6, network.data(), text, sizeof(text))) + "/64";
}

std::string PeerNetwork(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  if (address.ss_family == AF_INET) {
    const in_addr& v4 = reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    return NetworkOf({reinterpret_cast<const uint8_t*>(&v4), sizeof(v4)});
  }
  if (address.ss_family == AF_INET6) return NetworkOf(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr);
  return "unknown";
}

bool PeerHungUp(int socket) {
  pollfd state{socket, POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

void SetAcknowledgeTimeout(int socket, absl::Duration timeout) {
  // Retransmissions over a bad network take seconds.
  const int64_t limit_ms = std::max<int64_t>(absl::ToInt64Milliseconds(timeout), 20'000);
  const auto milliseconds = static_cast<unsigned>(std::min<int64_t>(limit_ms, INT_MAX));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
}

}  // namespace hadal::base
