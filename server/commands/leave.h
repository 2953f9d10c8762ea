// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hadal::commands {

// Ends the process without destructors, where a thread cannot be joined or nobody wants to wait. The log is written
// out, and GPUs get a moment to finish what was queued: a client of MPS that dies with work in flight may take its
// neighbours along.
[[noreturn]] void LeaveAtOnce(int exit_code);

}  // namespace hadal::commands
