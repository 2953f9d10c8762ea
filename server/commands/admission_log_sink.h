// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/admission/admission_log.h"

namespace hadal::commands {

// Writes the lines of admission and engines to the server's log, with their fields. Thread-safe.
admission::LogSink MakeLogSink();

}  // namespace hadal::commands
