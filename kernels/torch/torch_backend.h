// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// True for "torch" and for every name that starts with "torch:".
bool IsTorchDevice(absl::string_view device);

// The ops on libtorch (ATen), on every device that it supports: `device` is torch (the first GPU, else the CPU),
// torch:cpu, torch:cuda or torch:cuda:N. The code lies in libhadal_torch.so beside the program, which is opened by the
// first call. InvalidArgument: no such name, or batch_invariant, which libtorch's products do not keep.
// FailedPrecondition: the library, libtorch or the device is not there; the message says which and how to get it.
// Thread-safe. The library stays loaded.
//
// `stream` is a cudaStream_t of the same device, of somebody who lets the backend's ops take their turn on it; it must
// outlive the backend. Null: the device's default stream. InvalidArgument: a stream for the CPU.
absl::StatusOr<std::unique_ptr<Backend>> CreateTorchBackend(absl::string_view device, const Backend::Options& options,
                                                            void* stream = nullptr);

}  // namespace hadal::kernels
