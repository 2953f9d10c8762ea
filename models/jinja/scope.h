// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "models/jinja/value.h"

namespace hadal::jinja {

// The variables of one block, inside those of the block around it. Assignments stay in it.
class Scope {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}

  void Set(int variable, Value value) {
    for (auto& [number, old] : variables_) {
      if (number != variable) continue;
      old = std::move(value);
      return;
    }
    variables_.emplace_back(variable, std::move(value));
  }
  // Here or further out; null where nobody set it.
  const Value* Find(int variable) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      for (const auto& [number, value] : scope->variables_) {
        if (number == variable) return &value;
      }
    }
    return nullptr;
  }
  // A macro was defined here: this scope and those around it stay until the render ends.
  void Keep() {
    for (Scope* scope = this; scope != nullptr && !scope->kept_; scope = scope->parent_) scope->kept_ = true;
  }
  bool kept() const { return kept_; }
  Scope* parent() const { return parent_; }

 private:
  Scope* parent_;
  bool kept_ = false;
  std::vector<std::pair<int, Value>> variables_;
};

}  // namespace hadal::jinja
