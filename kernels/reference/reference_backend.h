// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace hadal::kernels {

// The reference loops behind the Backend interface: one thread, no scratch, slow. For tests and for narrowing down a
// fault.
std::unique_ptr<Backend> CreateReferenceBackend(const Backend::Options& options);

}  // namespace hadal::kernels
