// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/jinja/ast.h"
#include "models/jinja/runtime.h"

namespace hadal::jinja {

// Python's operators over values; they fail where Python raises.
Value Arithmetic(Runtime* run, BinaryOp op, const Value& a, const Value& b);
Value Negate(Runtime* run, const Value& value);
bool Compare(Runtime* run, CompareOp op, const Value& a, const Value& b);
// a < b, for sorting; fails for values that have no order.
bool Less(Runtime* run, const Value& a, const Value& b);
bool Contains(Runtime* run, const Value& container, const Value& item);
// The order of texts for filters that take upper and lower case as equal.
Value FoldCase(Runtime* run, const Value& value);

// a.name as Jinja looks it up: a method first, then an item.
Value GetAttribute(Runtime* run, const Value& object, const std::string& name);
// a[key]: an item first, then an attribute. Undefined when there is neither.
Value GetItem(Runtime* run, const Value& object, const Value& key);
// Each bound may be undefined or None.
Value GetSlice(Runtime* run, const Value& object, const Value& begin, const Value& end, const Value& step);

}  // namespace hadal::jinja
