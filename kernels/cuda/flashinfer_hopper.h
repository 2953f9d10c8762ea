// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer's attention kernels for Hopper in plain C++: prompts in the expanded form of latent attention (FA3 form,
// keys of 128 + 64, values of 128), and the absorbed form with the plans of flashinfer.h. Only compute capability 9.0
// has their instructions (TMA, wgmma), so they are compiled for 90a alone, whatever else a build holds. Errors as in
// flashinfer.h.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/flashinfer.h"
#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

inline constexpr int64_t kHopperCapability = 90;
inline constexpr int64_t kFlashPrefillNope = 128, kFlashPrefillRope = 64, kFlashPrefillValue = 128;
inline constexpr int64_t kFlashPrefillKey = kFlashPrefillNope + kFlashPrefillRope;
inline constexpr int64_t kFlashPrefillTile = 128;  // query rows of one head that a block works on at once

// False where they are not compiled in: 90a is not among the architectures of the build.
bool HaveFlashHopper();

// Who computes what: block b of as many as the device has multiprocessors works through the pieces [first_work[b],
// first_work[b + 1]), each a tile of the queries of a sequence and a head, with all the keys that it sees. Lists are
// offsets in bytes into the launch's lists, one entry a piece but for first_work.
struct FlashPrefillPlan {
  int64_t first_work = 0;
  int64_t head = 0, query_tile = 0;
  int64_t query_first = 0, key_first = 0;  // the sequence's first row
  int64_t query_count = 0, key_count = 0;  // of the sequence
  int64_t sequence = 0;
};

struct FlashPrefillLaunch {
  DType dtype = DType::kBF16;
  const void *q = nullptr, *v = nullptr;
  void* out = nullptr;
  int64_t tokens = 0, kv_tokens = 0, heads = 0;
  int64_t q_token = 0, q_head = 0, v_token = 0, v_head = 0, out_token = 0, out_head = 0;
  float scale = 1;
  // Filled in by the backend.
  const void* keys = nullptr;   // [kv_tokens, heads, kFlashPrefillKey], contiguous
  const void* lists = nullptr;  // device
};
int RunFlashPrefill(Stream stream, const FlashPrefillLaunch& launch, const FlashPrefillPlan& plan,
                    std::string* message);

// As RunFlashMla, on the same plan. Not for fixed plans.
int RunFlashMlaHopper(Stream stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan, std::string* message);

}  // namespace hadal::kernels::cuda
