// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/kernel_table.h"

#include "kernels/cpu/isa.h"

namespace hadal::kernels::cpu {

const KernelTable& TableFor(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
    case Isa::kAvx512Bf16:
      return Avx512Bf16Table();
    case Isa::kAvx512:
      return Avx512Table();
    case Isa::kAvx2:
      return Avx2Table();
    case Isa::kPortable:
      break;
  }
  return PortableTable();
}

}  // namespace hadal::kernels::cpu
