// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <type_traits>

#include "kernels/cpu/loop_table.h"
#include "kernels/cpu/portable_vec.h"

namespace hadal::kernels::cpu {
namespace {

// Products in float32, eight values of k at a time: half as many additions wait for each other as with four.
template <typename T>
struct PortableProduct {
  using Vec = PortableVec;
  using X = float;
  using W = T;
  struct Factor {
    Vec::Register low, high;
  };
  using AllLanes = Vec::AllLanes;
  static constexpr int kStep = 2 * Vec::kLanes;
  static constexpr int64_t kPrefetchBytes = 512;

  static int64_t FirstLanes(int64_t n) { return n; }
  template <typename U>
  static Factor Load(const U* p, AllLanes all) {
    if constexpr (std::is_same_v<U, float>) {
      return {Vec::Load(p, all), Vec::Load(p + Vec::kLanes, all)};
    } else {
      Vec::Halves halves;
      std::memcpy(&halves, p, sizeof(halves));
      return {Vec::Widen<U>(Vec::LowHalves(halves)), Vec::Widen<U>(Vec::HighHalves(halves))};
    }
  }
  template <typename U>
  static Factor Load(const U* p, int64_t n) {
    U values[kStep] = {};
    for (int64_t i = 0; i < n; ++i) values[i] = p[i];
    return Load(values, AllLanes());
  }
  static Vec::Register MulAdd(Factor x, Factor w, Vec::Register sum) { return sum + (x.low * w.low + x.high * w.high); }
};

struct Products {
  template <typename W>
  using Of = PortableProduct<W>;
};

}  // namespace

const KernelTable& PortableTable() {
  static constexpr KernelTable kTable = LoopTable<PortableVec, Products>();
  return kTable;
}

}  // namespace hadal::kernels::cpu
