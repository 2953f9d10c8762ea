// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/mps_error.h"

namespace hadal::kernels::cuda {
namespace {

// As numbers, since this file knows no CUDA: cudaErrorMps... of driver_types.h.
constexpr int kConnectionFailed = 805, kRpcFailure = 806, kServerNotReady = 807, kMaxClientsReached = 808,
              kMaxConnectionsReached = 809, kClientTerminated = 810;

constexpr auto kWait = absl::StatusCode::kUnavailable, kAct = absl::StatusCode::kFailedPrecondition;

struct Row {
  int cuda_error;
  MpsError meaning;
};

constexpr Row kRows[] = {
    {kConnectionFailed, {kAct, "the MPS daemon cannot be reached: is it this user's, and does it still run?"}},
    {kRpcFailure, {kAct, "the MPS server did not answer: see its log"}},
    {kServerNotReady,
     {kWait, "a client of the MPS server had a fault: it takes new ones when all that it served then have ended"}},
    {kMaxClientsReached,
     {kAct, "the MPS server has all the clients that a GPU can have: use fewer processes on it, or another GPU"}},
    {kMaxConnectionsReached,
     {kAct,
      "the MPS server has no connection to the GPU left: use fewer processes, or a smaller "
      "CUDA_DEVICE_MAX_CONNECTIONS"}},
    {kClientTerminated, {kAct, "the MPS server ended this process's use of the GPU, as an operator can ask it to"}},
};

}  // namespace

const MpsError* FindMpsError(int cuda_error) {
  for (const Row& row : kRows) {
    if (row.cuda_error == cuda_error) return &row.meaning;
  }
  return nullptr;
}

}  // namespace hadal::kernels::cuda
