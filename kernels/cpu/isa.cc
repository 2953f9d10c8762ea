// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace hadal::kernels::cpu {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};

bool HasAvx512Bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 5 & 1) != 0;
}

// AMX tile data needs the processor's leave and, on Linux, a request for the larger state.
bool HasAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  const bool tile = edx >> 24 & 1, bf16 = edx >> 22 & 1;
  if (!tile || !bf16) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa Detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
    return Isa::kPortable;
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::kAvx2;
  if (!HasAvx512Bf16()) return Isa::kAvx512;
  return HasAmx() ? Isa::kAmx : Isa::kAvx512Bf16;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

Isa DetectIsa() {
  static const Isa isa = Detect();
  return isa;
}

absl::StatusOr<Isa> ChooseIsa(absl::string_view name) {
  if (name == "auto" || name.empty()) return DetectIsa();
  for (Isa isa : kAll) {
    if (name != IsaName(isa)) continue;
    if (isa <= DetectIsa()) return isa;
    return absl::FailedPreconditionError(
        absl::StrCat("cpu isa: this machine lacks ", name, "; its best is ", IsaName(DetectIsa())));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cpu isa: expected auto, portable, avx2, avx512, avx512_bf16 or amx, found ", name));
}

}  // namespace hadal::kernels::cpu
