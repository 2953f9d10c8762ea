// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "models/concat.h"
#include "models/jinja/characters.h"
#include "models/jinja/format.h"

namespace hadal::jinja {
namespace {

void AppendJsonString(Runtime* run, const MarkedText& text, bool ensure_ascii, MarkedText* out) {
  if (!run->SpendBytes(text.size())) return;
  out->Append("\"", false);
  size_t plain = 0;  // begin of what is copied as it is
  ForEachCharacter(text.bytes(), [&](char32_t c, size_t begin, size_t end) {
    static constexpr std::string_view kLetters = "\b\f\n\r\t\"\\";
    static constexpr std::string_view kNames = "bfnrt\"\\";
    char escape[16] = {};
    if (const size_t at = c < 0x80 ? kLetters.find(static_cast<char>(c)) : kLetters.npos; at != kLetters.npos) {
      std::snprintf(escape, sizeof escape, "\\%c", kNames[at]);
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
    } else if (ensure_ascii && c >= 0x10000) {
      const auto rest = static_cast<unsigned>(c - 0x10000);
      std::snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      return true;
    }
    out->AppendSlice(text, plain, begin);
    out->Append(escape, text.IsInput(begin));
    plain = end;
    return true;
  });
  out->AppendSlice(text, plain, text.size());
  out->Append("\"", false);
}

void NewLine(const JsonOptions& options, int depth, MarkedText* out) {
  if (!options.has_indent) return;
  std::string line = "\n";
  for (int i = 0; i < depth; ++i) line += options.indent;
  out->Append(line, false);
}

bool AppendScalar(const Value& value, MarkedText* out) {
  if (const bool* flag = value.AsBool()) {
    out->Append(*flag ? "true" : "false", false);
  } else if (value.IsNone()) {
    out->Append("null", false);
  } else if (const double* number = value.AsFloat()) {
    out->Append(std::isnan(*number)   ? "NaN"
                : std::isinf(*number) ? (*number < 0 ? "-Infinity" : "Infinity")
                                      : FloatRepr(*number),
                false);
  } else if (const uint64_t* big = value.AsBigInt()) {
    out->Append(std::to_string(*big), false);
  } else if (int64_t whole = 0; value.ToInt(&whole)) {
    out->Append(std::to_string(whole), false);
  } else {
    return false;
  }
  return true;
}

void AppendKey(Runtime* run, const Value& key, const JsonOptions& options, MarkedText* out) {
  if (const MarkedText* text = key.AsText()) return AppendJsonString(run, *text, options.ensure_ascii, out);
  out->Append("\"", false);
  if (!AppendScalar(key, out))
    run->Fail(models::Concat("keys of JSON must be str, int, float, bool or None, not ", key.TypeName()));
  out->Append("\"", false);
}

void AppendObject(Runtime* run, const DictData& dict, const JsonOptions& options, MarkedText* out, int depth) {
  if (dict.items.empty()) return out->Append("{}", false);
  std::vector<const std::pair<Value, Value>*> items;
  for (const auto& item : dict.items) items.push_back(&item);
  if (options.sort_keys) {
    std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) {
      const MarkedText* left = a->first.AsText();
      const MarkedText* right = b->first.AsText();
      return left != nullptr && right != nullptr && left->bytes() < right->bytes();
    });
  }
  out->Append("{", false);
  for (const auto* item : items) {
    if (run->failed()) return;
    if (item != items.front()) out->Append(options.item_separator, false);
    NewLine(options, depth + 1, out);
    AppendKey(run, item->first, options, out);
    out->Append(options.key_separator, false);
    AppendJson(run, item->second, options, out, depth + 1);
  }
  NewLine(options, depth, out);
  out->Append("}", false);
}

}  // namespace

void AppendJson(Runtime* run, const Value& value, const JsonOptions& options, MarkedText* out, int depth) {
  if (!run->Spend(1)) return;
  if (depth > kMaxValueDepth) {
    run->Fail(models::Concat("a value is nested more than ", kMaxValueDepth, " levels deep"));
    return;
  }
  if (out->size() > run->limits().max_memory_bytes) {
    run->Reserve(out->size());
    return;
  }
  if (const MarkedText* text = value.AsText()) return AppendJsonString(run, *text, options.ensure_ascii, out);
  if (const DictData* dict = value.AsDict()) return AppendObject(run, *dict, options, out, depth);
  const ListData* list = value.AsList();
  if (list != nullptr && (list->kind == ListKind::kList || list->kind == ListKind::kTuple)) {
    if (list->items.empty()) return out->Append("[]", false);
    out->Append("[", false);
    for (size_t i = 0; i < list->items.size() && !run->failed(); ++i) {
      if (i > 0) out->Append(options.item_separator, false);
      NewLine(options, depth + 1, out);
      AppendJson(run, list->items[i], options, out, depth + 1);
    }
    NewLine(options, depth, out);
    return out->Append("]", false);
  }
  if (!AppendScalar(value, out)) {
    run->Fail(models::Concat("Object of type ", value.TypeName(), " is not JSON serializable"));
  }
}

}  // namespace hadal::jinja
