// SPDX-License-Identifier: Apache-2.0
//
// What a test tells the emulated device to do, and what the device has seen. Plain C++: for tests that know no CUDA.
#pragma once

#include <cstdint>
#include <ostream>

namespace hadal::kernels::cuda_emulator {

// What the device was asked to do.
struct Work {
  int64_t launches = 0;  // own kernels, and one for each call of the stand-in for a library
  int64_t uploads = 0, upload_bytes = 0;
  int64_t downloads = 0, download_bytes = 0;
  int64_t copies = 0, fills = 0;  // within the device
  int64_t replays = 0;            // of graphs, whose launches are not counted again
  int64_t syncs = 0;              // times that the host waited for the stream or an event

  bool operator==(const Work&) const = default;
};
inline Work operator-(const Work& a, const Work& b) {
  return {a.launches - b.launches,
          a.uploads - b.uploads,
          a.upload_bytes - b.upload_bytes,
          a.downloads - b.downloads,
          a.download_bytes - b.download_bytes,
          a.copies - b.copies,
          a.fills - b.fills,
          a.replays - b.replays,
          a.syncs - b.syncs};
}
inline std::ostream& operator<<(std::ostream& out, const Work& w) {
  return out << w.launches << " launches, " << w.uploads << " uploads of " << w.upload_bytes << " bytes, "
             << w.downloads << " downloads of " << w.download_bytes << " bytes, " << w.copies << " copies, " << w.fills
             << " fills, " << w.replays << " replays, " << w.syncs << " syncs";
}

struct Control : Work {
  int device_error = 0;      // cudaError_t of cudaGetDeviceCount
  int launch_error = 0;      // of the next launch, once
  bool slow_copies = false;  // an event is reached only when somebody waits for it or a later one
  int64_t free_bytes = int64_t{4} << 30, total_bytes = int64_t{4} << 30;  // with nothing allocated
  int major = 9, minor = 0;                                               // compute capability
  bool has_code = true;                                                   // for that capability
  int multiprocessors = 1;                                                // of the device
  int context_multiprocessors = 1;                                        // that a context may use
  bool mps = false;
  bool flashinfer = false;       // attention by the stand-in for FlashInfer, on compute capability 9.0 that for Hopper
  bool wrong_on_hopper = false;  // what the stand-in for Hopper says is not so
  int error_on_hopper = 0;       // cudaError_t that it returns instead

  int64_t plans = 0;            // of that stand-in
  int64_t hopper_calls = 0;     // of that for Hopper
  int64_t graphs = 0;           // that can be launched
  int64_t allocations = 0;      // of device memory
  int64_t events = 0;           // created
  int64_t waits = 0;            // for an event that was not reached
  int64_t settles = 0;          // waits for the whole device
  int64_t strays = 0;           // copies, fills and waits on another stream than the one that a backend made
  int64_t pinned_bytes = 0;     // of page-locked memory of the host, now
  int64_t pageable_copies = 0;  // copies to the device from other memory of the host
};

// Of the one device. A test that changes something puts it back: TheDevice() = {}.
//
// A process that nobody else tells hears the environment: EMULATED_GPU_SMS, EMULATED_GPU_FREE_BYTES,
// EMULATED_GPU_ERROR_FILE (while it exists, no device is found and launches fail, with the cudaError_t in it) and
// EMULATED_GPU_SETTLED_FILE (made when somebody waits for the whole device). As CUDA does, it runs under MPS where
// CUDA_MPS_PIPE_DIRECTORY has a daemon's socket, and keeps to that process's limits then.
Control& TheDevice();

}  // namespace hadal::kernels::cuda_emulator
