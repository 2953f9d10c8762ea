// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hadal::commands {

// Ends the process without running destructors, when a thread cannot be joined or there is no time to wait. Flushes the
// log, and gives GPUs a moment to finish queued work: an MPS client that dies with work in flight may take its
// neighbours down.
[[noreturn]] void LeaveAtOnce(int exit_code);

}  // namespace hadal::commands
