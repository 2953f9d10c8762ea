// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/jinja/value.h"

namespace hadal::jinja {

struct Statement;
class Scope;

// What a template may call.
struct Callable {
  enum class Kind : uint8_t {
    kFunction,  // range, namespace, raise_exception ...
    kMethod,    // receiver.name
    kMacro,     // a macro, or the body of a call block
  };
  Kind kind = Kind::kFunction;
  std::string_view name;  // of static storage or of the template
  Value receiver;
  const Statement* statement = nullptr;
  Scope* scope = nullptr;  // where the macro was defined; kept until the render ends
};

// The variable `loop`.
struct LoopState {
  List items;
  size_t index = 0;
  int depth = 0;                         // of recursive loops, 0 outermost
  const Statement* statement = nullptr;  // of a recursive loop
  Scope* scope = nullptr;                // around the loop; lives as long as the loop runs
  bool changed_before = false;
  std::vector<Value> last_changed;  // loop.changed(); emptied when the loop ends
};

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

}  // namespace hadal::jinja
