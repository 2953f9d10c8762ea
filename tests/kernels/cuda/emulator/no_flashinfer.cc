// SPDX-License-Identifier: Apache-2.0
//
// Stands in for FlashInfer and CUTLASS in the emulator: attention and grouped products run on the generic kernels.
#include <cuda_runtime_api.h>

#include "kernels/cuda/cutlass_grouped.h"
#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

bool HaveCutlass() { return false; }
int LaunchCutlassGrouped(Stream, const CutlassGroupedLaunch&) { return cudaErrorInvalidValue; }

bool HaveFlashInfer() { return false; }

int FlashPagedWorkspace(const FlashPagedLaunch&, int64_t*, int64_t*, std::string*) { return cudaErrorInvalidValue; }
int RunFlashPaged(Stream, const FlashPagedLaunch&, std::string*) { return cudaErrorInvalidValue; }
int64_t FlashMlaFloatBytes(int64_t) { return 0; }
int64_t FlashMlaIntBytes(int64_t) { return 0; }
int PlanFlashMlaRun(const FlashMlaLaunch&, FlashMlaPlan*, std::string*) { return cudaErrorInvalidValue; }
int RunFlashMla(Stream, const FlashMlaLaunch&, const FlashMlaPlan&, std::string*) { return cudaErrorInvalidValue; }

}  // namespace hadal::kernels::cuda
