// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/kernel_table.h"
namespace hadal::kernels::cpu {
const KernelTable& Avx2Table() { return PortableTable(); }
}  // namespace hadal::kernels::cpu
