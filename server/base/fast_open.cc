// SPDX-License-Identifier: Apache-2.0
#include "server/base/fast_open.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdint>
#include <fstream>

#include "server/base/log.h"

namespace hadal::base {
namespace {

// Bit of net.ipv4.tcp_fastopen: for those who listen.
constexpr int kKernelServes = 2;

}  // namespace

void OfferFastOpen(int socket, int waiting, std::string_view component) {
  int kernel = 0;
  std::ifstream("/proc/sys/net/ipv4/tcp_fastopen") >> kernel;
  if ((kernel & kKernelServes) == 0 ||
      ::setsockopt(socket, IPPROTO_TCP, TCP_FASTOPEN, &waiting, sizeof(waiting)) != 0) {
    Log(LogLevel::kWarn, component, "--tcp-fast-open has no effect: the kernel does not allow it to servers",
        {{"net.ipv4.tcp_fastopen", int64_t{kernel}}});
  }
}

}  // namespace hadal::base
