// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/concat.h"
#include "models/jinja/callable.h"
#include "models/jinja/limits.h"
#include "models/jinja/value.h"

namespace hadal::jinja {

// What every part of one render shares: its bounds, its first error, and how values are made. After an error all
// results are undefined values that nobody looks at, so callers go on until they notice failed(). Not thread-safe.
class Runtime {
 public:
  explicit Runtime(const Limits& limits) : limits_(limits), memory_(limits.max_memory_bytes) {}

  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }
  const Limits& limits() const { return limits_; }

  // Keeps the first error, with the line of the template that is running. Returns an undefined value.
  Value Fail(std::string_view what);
  // raise_exception: the message alone.
  Value Raise(std::string_view message);
  void set_line(int line) { line_ = line; }

  // Counts work; false once a bound is reached or something failed.
  bool Spend(size_t steps);
  // Counts the work of copying or looking through so many bytes.
  bool SpendBytes(size_t bytes) { return Spend(1 + bytes / 64); }
  // Python's ==, counted.
  bool Same(const Value& a, const Value& b);
  // Fails unless so many more bytes fit. Asked before something is made that is larger than what it is made of.
  bool Reserve(size_t bytes);

  Value Text(MarkedText text, bool markup = false);
  Value Text(std::string bytes) { return Text(MarkedText(std::move(bytes), false)); }
  Value NewList(std::vector<Value> items, ListKind kind = ListKind::kList);
  Value NewDict(DictData dict);
  NamespaceData* NewNamespace();

  // The items that a for loop would see: of a list, the keys of a dict, the characters of a text, none of an undefined
  // value. Takes what a generator has left. Null after it failed for what is not iterable.
  List Items(const Value& value);

  // The arguments by name, undefined where they are missing. Fails for too many or unknown ones, and when fewer than
  // `required` are given. `what` names the filter or method in the message.
  std::vector<Value> Bind(std::string_view what, const CallArguments& arguments,
                          std::initializer_list<std::string_view> names, size_t required = 0);
  // Fails when `value` is no int. `fallback` stands for an undefined or None value.
  int64_t IntOr(std::string_view what, const Value& value, int64_t fallback);
  // The text of a value that must be one; null after it failed.
  const MarkedText* TextOf(std::string_view what, const Value& value);

 private:
  Limits limits_;
  MemoryMeter memory_;
  absl::Status status_;
  uint64_t steps_ = 0;
  int line_ = 0;
  std::vector<std::unique_ptr<NamespaceData>> namespaces_;  // until the render ends: they may hold each other
};

}  // namespace hadal::jinja
