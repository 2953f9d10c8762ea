// SPDX-License-Identifier: Apache-2.0
#include "client/fast_open.h"

#include <grpc/support/sync.h>
#include <grpcpp/version_info.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

// gRPC takes an object that sets a socket's options before it connects (GRPC_ARG_SOCKET_MUTATOR), and exports what
// makes one, but its public headers only name the type. So this is for the version whose layout is known, and no other.
struct grpc_socket_mutator_vtable {
  bool (*mutate_fd)(int fd, grpc_socket_mutator* mutator);
  int (*compare)(grpc_socket_mutator* a, grpc_socket_mutator* b);
  void (*destroy)(grpc_socket_mutator* mutator);
  bool (*mutate_fd_2)(const void* info, grpc_socket_mutator* mutator);
};
struct grpc_socket_mutator {
  const grpc_socket_mutator_vtable* vtable;
  gpr_refcount refcount;
};
extern void grpc_socket_mutator_init(grpc_socket_mutator* mutator, const grpc_socket_mutator_vtable* vtable)
    __attribute__((weak));
extern grpc_socket_mutator* grpc_socket_mutator_ref(grpc_socket_mutator* mutator) __attribute__((weak));

namespace hadal::client {
namespace {

constexpr bool kLayoutIsKnown = GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51;

bool SetFastOpen(int fd, grpc_socket_mutator*) {
  const int on = 1;
  // Fails for sockets that are not TCP's and for kernels without it; false would end the connection.
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on));
  return true;
}

// One for all channels: those that differ in it share no connections.
grpc_socket_mutator* FastOpenMutator() {
  static constexpr grpc_socket_mutator_vtable kVtable = {
      .mutate_fd = SetFastOpen,
      .compare = [](grpc_socket_mutator* a, grpc_socket_mutator* b) { return a < b ? -1 : (a > b ? 1 : 0); },
      .destroy = [](grpc_socket_mutator*) {},  // its own reference stays
      .mutate_fd_2 = nullptr};
  static grpc_socket_mutator mutator;
  static const bool made = [] {
    grpc_socket_mutator_init(&mutator, &kVtable);
    return true;
  }();
  (void)made;
  return &mutator;
}

}  // namespace

bool CanFastOpen() {
  return kLayoutIsKnown && grpc_socket_mutator_init != nullptr && grpc_socket_mutator_ref != nullptr;
}

void UseFastOpen(grpc::ChannelArguments* arguments) {
  if (CanFastOpen()) arguments->SetSocketMutator(grpc_socket_mutator_ref(FastOpenMutator()));
}

}  // namespace hadal::client
