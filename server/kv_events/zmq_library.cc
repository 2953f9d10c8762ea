// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/zmq_library.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace hadal::kv_events {
namespace {

constexpr char kName[] = "libzmq.so.5";

absl::StatusOr<ZmqLibrary> Open() {
  void* const handle = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("--kv-events needs ", kName, " (Debian's package libzmq5): ", dlerror()));
  }
  ZmqLibrary library;
  std::string missing;
  const auto find = [&](const char* name, auto* function) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(handle, name));
    if (*function == nullptr) missing = name;
  };
  find("zmq_ctx_new", &library.ctx_new);
  find("zmq_ctx_term", &library.ctx_term);
  find("zmq_socket", &library.socket);
  find("zmq_close", &library.close);
  find("zmq_setsockopt", &library.setsockopt);
  find("zmq_getsockopt", &library.getsockopt);
  find("zmq_bind", &library.bind);
  find("zmq_connect", &library.connect);
  find("zmq_poll", &library.poll);
  find("zmq_send", &library.send);
  find("zmq_msg_init", &library.msg_init);
  find("zmq_msg_init_data", &library.msg_init_data);
  find("zmq_msg_send", &library.msg_send);
  find("zmq_msg_recv", &library.msg_recv);
  find("zmq_msg_close", &library.msg_close);
  find("zmq_msg_data", &library.msg_data);
  find("zmq_msg_size", &library.msg_size);
  find("zmq_msg_more", &library.msg_more);
  find("zmq_errno", &library.error);
  find("zmq_strerror", &library.error_text);
  if (!missing.empty()) return absl::FailedPreconditionError(absl::StrCat("--kv-events: ", kName, " has no ", missing));
  return library;
}

}  // namespace

absl::StatusOr<const ZmqLibrary*> LoadZmq() {
  static const absl::StatusOr<ZmqLibrary> library = Open();
  if (!library.ok()) return library.status();
  return &*library;
}

}  // namespace hadal::kv_events
