// SPDX-License-Identifier: Apache-2.0
//
// What libhadal_torch.so exports. The program and the library are built together and pass C++ objects to each other, so
// the stamp is compared before the first call.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace hadal::kernels::torch {

constexpr uint64_t MixStamp(uint64_t stamp, const char* name, uint64_t bytes) {
  for (; *name != '\0'; ++name) stamp = (stamp ^ static_cast<unsigned char>(*name)) * 0x100000001B3u;
  return (stamp ^ bytes) * 0x100000001B3u;
}

// Changes when an op, or the size of what is passed, does.
constexpr uint64_t PluginStamp() {
  uint64_t stamp = MixStamp(0xCBF29CE484222325u, "Options, stream", sizeof(Backend::Options));
  stamp = MixStamp(stamp, "Facts", sizeof(BackendFacts));
#define HADAL_MIX_OP(Op) stamp = MixStamp(stamp, #Op, sizeof(Op##Params));
  HADAL_FOR_EACH_OP(HADAL_MIX_OP)
  HADAL_FOR_EACH_FUSED_OP(HADAL_MIX_OP)
#undef HADAL_MIX_OP
  return stamp;
}

using BackendResult = absl::StatusOr<std::unique_ptr<Backend>>;
using StampFunction = uint64_t();
using CreateFunction = void(const char* device, const Backend::Options* options, void* stream, BackendResult* result);

inline constexpr char kStampSymbol[] = "hadal_torch_stamp";
inline constexpr char kCreateSymbol[] = "hadal_torch_create";

}  // namespace hadal::kernels::torch
