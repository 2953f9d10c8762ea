// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace hadal::kernels::cpu {

// Instruction sets with kernels of their own, each a superset of the one before.
enum class Isa {
  kPortable,    // what the compiler makes of plain C++
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // and vdpbf16ps
  kAmx,         // and AMX tiles for bf16
};

const char* IsaName(Isa isa);

// The best that processor and operating system offer. For kAmx this asks the kernel for the tile state.
Isa DetectIsa();

// "auto" or a name of IsaName. InvalidArgument: unknown name; FailedPrecondition: the machine lacks it.
absl::StatusOr<Isa> ChooseIsa(absl::string_view name);

}  // namespace hadal::kernels::cpu
