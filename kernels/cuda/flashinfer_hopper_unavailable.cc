// SPDX-License-Identifier: Apache-2.0
//
// In place of flashinfer_hopper.cu in a build without the architecture 90a.
#include "kernels/cuda/flashinfer_hopper.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int kNotSupported = 801;  // cudaErrorNotSupported

}  // namespace

bool HaveFlashHopper() { return false; }

int RunFlashPrefill(Stream, const FlashPrefillLaunch&, const FlashPrefillPlan&, std::string*) { return kNotSupported; }

int RunFlashMlaHopper(Stream, const FlashMlaLaunch&, const FlashMlaPlan&, std::string*) { return kNotSupported; }

}  // namespace hadal::kernels::cuda
