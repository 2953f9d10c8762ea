// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/kernel_table.h"
namespace hadal::kernels::cpu {
const KernelTable& Avx512Bf16Table() { return Avx512Table(); }
}  // namespace hadal::kernels::cpu
