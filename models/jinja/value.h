// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/jinja/marked_text.h"
#include "models/jinja/memory_meter.h"

namespace hadal::jinja {

class Value;
struct ListData;
struct DictData;
struct NamespaceData;
struct LoopState;
struct Callable;

using List = std::shared_ptr<const ListData>;
using Dict = std::shared_ptr<const DictData>;

// A Python value as a template sees it. Immutable but for namespaces, as in transformers' sandbox, so that no cycle can
// come to be. Cheap to copy. Values that a render made must not outlive it; those made before are thread-safe to read.
class Value {
 public:
  struct Undefined {
    const std::string* name;  // of the variable or attribute, for messages; lives as long as the template
  };
  struct None {};
  struct Text {
    std::shared_ptr<const MarkedText> text;
    bool markup;  // marked safe: what is added to it gets escaped
  };

  Value() : data_(Undefined{nullptr}) {}
  Value(None) : data_(None{}) {}
  Value(Undefined undefined) : data_(undefined) {}
  Value(Text text) : data_(std::move(text)) {}
  Value(List list) : data_(std::move(list)) {}
  Value(Dict dict) : data_(std::move(dict)) {}
  Value(NamespaceData* value) : data_(value) {}
  Value(std::shared_ptr<LoopState> loop) : data_(std::move(loop)) {}
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  static Value Bool(bool value) { return Value(Data(value)); }
  static Value Int(int64_t value) { return Value(Data(value)); }
  static Value BigInt(uint64_t value) { return Value(Data(value)); }  // above INT64_MAX
  static Value Float(double value) { return Value(Data(value)); }
  // Outside of a render, or for short texts: their memory is not counted.
  static Value String(std::string bytes, bool input);

  bool IsUndefined() const { return Is<Undefined>(); }
  bool IsNone() const { return Is<None>(); }
  bool IsBool() const { return Is<bool>(); }
  bool IsInt() const { return Is<int64_t>() || Is<uint64_t>(); }  // not bool
  bool IsFloat() const { return Is<double>(); }
  bool IsNumber() const { return IsInt() || IsFloat() || IsBool(); }
  bool IsText() const { return Is<Text>(); }

  // Null, or the value of that type.
  const bool* AsBool() const { return std::get_if<bool>(&data_); }
  const double* AsFloat() const { return std::get_if<double>(&data_); }
  const uint64_t* AsBigInt() const { return std::get_if<uint64_t>(&data_); }
  const MarkedText* AsText() const;
  const ListData* AsList() const;
  List SharedList() const;
  const DictData* AsDict() const;
  NamespaceData* AsNamespace() const;
  LoopState* AsLoop() const;
  std::shared_ptr<LoopState> SharedLoop() const;
  const Callable* AsCallable() const;
  const Undefined* AsUndefined() const { return std::get_if<Undefined>(&data_); }
  bool IsMarkup() const;

  // An int that fits 64 bits, or a bool as 0 or 1, as Python counts them.
  bool ToInt(int64_t* out) const;
  // Any number; false for what is none.
  bool ToDouble(double* out) const;

  // Python's truth. A generator is always true.
  bool IsTrue() const;
  // Python's name of the type, for messages.
  std::string_view TypeName() const;
  // Levels of lists and dicts in it; 0 for everything else.
  int Depth() const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, uint64_t, double, Text, List, Dict, NamespaceData*,
                            std::shared_ptr<LoopState>, std::shared_ptr<const Callable>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }

  Data data_;
};

// What Python would have behind a list of values: they differ in length, text, truth and equality.
enum class ListKind : uint8_t { kList, kTuple, kGenerator, kRange, kKeys, kValues, kItems };

struct ListData {
  ListKind kind = ListKind::kList;
  std::vector<Value> items;
  int depth = 1;
  MemoryCharge charge;
  mutable bool consumed = false;  // kGenerator: it gives its items once. Only values of a render are generators.
};

// Keys in the order they came. Lookups of strings are constant in time.
struct DictData {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
  MemoryCharge charge;

  // Null without such a key.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  // Replaces the value of an equal key at its place.
  void Set(Value key, Value value);

 private:
  // Open addressing over the hashes of string keys; built once there are more than a few.
  void Index(size_t item);
  size_t FindIndex(std::string_view key) const;
  std::vector<uint32_t> slots_;  // item + 1, 0: free
};

struct NamespaceData {
  std::vector<std::pair<std::string, Value>> members;
  Value* Find(std::string_view name);
};

// Python's ==. Takes at most *steps comparisons, which it counts down, and answers false when they are used up: lists
// that hold one list many times would take forever.
bool Equal(const Value& a, const Value& b, uint64_t* steps);

List MakeList(std::vector<Value> items, ListKind kind = ListKind::kList);
Value MakeDict(std::vector<std::pair<Value, Value>> items);  // keys are different strings

// Levels of lists and dicts that a value may have.
inline constexpr int kMaxValueDepth = 200;

}  // namespace hadal::jinja
