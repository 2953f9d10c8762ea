// SPDX-License-Identifier: Apache-2.0
//
// Whether the machine has an NVIDIA GPU, asked of the operating system: CUDA's own "no device" and "no driver" also
// mean a driver that does not work, and a server must not take that for a machine without a GPU.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace hadal::kernels::cuda {

// The first sign of a GPU below `root`, such as "/dev/nvidia0": a device file, a GPU of the kernel's driver, or a
// display controller of NVIDIA on the PCI bus. Empty: there is none.
std::string FindNvidiaGpu(const std::string& root = "/");

// True when the environment takes every GPU away: CUDA_VISIBLE_DEVICES names none, or NVIDIA_VISIBLE_DEVICES is "void"
// or "none".
bool GpusAreHidden();

// The error for a CUDA runtime that offers no device. NotFound: there is none, or it is hidden, and `code_of_absence`
// says that CUDA's error may mean that; another device may serve. FailedPrecondition: there is a GPU, and it is
// unusable.
absl::Status NoUsableGpu(bool code_of_absence, absl::string_view cuda_error, const std::string& root = "/");

}  // namespace hadal::kernels::cuda
