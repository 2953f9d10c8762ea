// SPDX-License-Identifier: Apache-2.0
#include "server/base/log_scope.h"

namespace hadal::base {
namespace {

thread_local const LogScope* t_current = nullptr;

}  // namespace

LogScope::LogScope(std::string_view request_id, std::string_view trace_id)
    : request_id_(request_id), trace_id_(trace_id), outer_(t_current) {
  t_current = this;
}

LogScope::~LogScope() { t_current = outer_; }

const LogScope* LogScope::Current() { return t_current; }

}  // namespace hadal::base
