// SPDX-License-Identifier: Apache-2.0
//
// What a test tells the emulated device to do, and what the device has seen. Plain C++: for tests that know no CUDA.
#pragma once

#include <cstdint>

namespace hadal::kernels::cuda_emulator {

struct Control {
  int device_error = 0;      // cudaError_t of cudaGetDeviceCount
  int launch_error = 0;      // of the next launch, once
  bool slow_copies = false;  // an event is reached only when somebody waits for it or a later one
  int64_t free_bytes = int64_t{4} << 30, total_bytes = int64_t{4} << 30;
  bool mps = false;
  bool flashinfer = false;  // attention by the stand-in for FlashInfer

  int64_t plans = 0;  // of that stand-in
  int64_t launches = 0, uploads = 0, downloads = 0;
  int64_t allocations = 0;  // of device memory
  int64_t events = 0;       // created
  int64_t waits = 0;        // for an event that was not reached
};

// Of the one device. A test that changes something puts it back: TheDevice() = {}.
Control& TheDevice();

}  // namespace hadal::kernels::cuda_emulator
