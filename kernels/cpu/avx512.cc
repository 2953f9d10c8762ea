// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/loop_table.h"

namespace hadal::kernels::cpu {
namespace {

struct Products {
  template <typename W>
  using Of = FloatProduct<Avx512Vec, W>;
};

}  // namespace

const KernelTable& Avx512Table() {
  static constexpr KernelTable kTable = LoopTable<Avx512Vec, Products>();
  return kTable;
}

}  // namespace hadal::kernels::cpu
