// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include "server/service/trace_context.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::relay {

// The header fields with which an upstream is asked: those of `wishes` that are not empty, and the trace that the
// request belongs to.
upstream::Fields FieldsOf(const service::TraceContext& trace,
                          std::initializer_list<std::pair<std::string_view, std::string_view>> wishes);

}  // namespace hadal::relay
