// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

#include "tests/kernels/cuda/emulator/cuda_runtime.h"

namespace hadal::kernels::cuda_emulator {

inline constexpr size_t kSharedBytes = 232448;          // of a block, as on Hopper
inline constexpr size_t kPlainSharedBytes = 48 * 1024;  // without cudaFuncSetAttribute

// Runs `thread` for every thread of every block, one block after another, each thread from barrier to barrier. Aborts
// with a message where a block would hang or misbehave on a GPU: barriers that not all threads reach, writes past the
// shared memory. One caller at a time.
void ExecuteGrid(const cudaLaunchConfig_t& config, const std::function<void()>& thread);

}  // namespace hadal::kernels::cuda_emulator
