// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/loop_table.h"

namespace hadal::kernels::cpu {
namespace {

struct Products {
  template <typename W>
  using Of = FloatProduct<Avx2Vec, W>;
};

}  // namespace

const KernelTable& Avx2Table() {
  static constexpr KernelTable kTable = LoopTable<Avx2Vec, Products>();
  return kTable;
}

}  // namespace hadal::kernels::cpu
