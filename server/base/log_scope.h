// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hadal::base {

// Names the request that a thread works on: until the scope ends, every line that this thread logs has the fields
// `request_id` and `trace_id`, except those that are empty or that the line has already. A line that names another
// request stays as it is. Scopes nest; the inner one counts, and one of empty texts hides the outer one.
//
// The texts are kept by reference. A scope belongs to one thread: a coroutine must not suspend inside.
class LogScope {
 public:
  LogScope(std::string_view request_id, std::string_view trace_id);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

  std::string_view request_id() const { return request_id_; }
  std::string_view trace_id() const { return trace_id_; }
  // The innermost of this thread; null without one.
  static const LogScope* Current();

 private:
  const std::string_view request_id_, trace_id_;
  const LogScope* const outer_;
};

}  // namespace hadal::base
