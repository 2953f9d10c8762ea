// SPDX-License-Identifier: Apache-2.0
//
// A CUDA device on the CPU, as far as kernels/cuda needs one: the .cu files compile as C++ against this header instead
// of the toolkit's, and the op tests run them. Blocks run one after another; the threads of a block are coroutines that
// run in turn from one barrier (__syncthreads, or a shuffle of the warp) to the next, so a kernel that lacks a barrier
// sees stale values in this order too. Memory is host memory, work is done when a launch returns. It says nothing about
// speed, races between warps, cuBLASLt or FlashInfer.
#pragma once

#include "tests/kernels/cuda/emulator/cuda_runtime_api.h"
