// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/format.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "models/concat.h"
#include "models/jinja/characters.h"

namespace hadal::jinja {
namespace {

// Appends the text as Python's repr writes it between quotes; every character keeps its origin.
void AppendQuoted(Runtime* run, const MarkedText& text, MarkedText* out) {
  if (!run->SpendBytes(text.size())) return;
  const std::string_view bytes = text.bytes();
  const char quote = bytes.find('\'') != bytes.npos && bytes.find('"') == bytes.npos ? '"' : '\'';
  out->Append(std::string_view(&quote, 1), false);
  size_t plain = 0;  // begin of what is copied as it is
  ForEachCharacter(bytes, [&](char32_t c, size_t begin, size_t end) {
    char escape[12] = {};
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      std::snprintf(escape, sizeof escape, "\\%c", static_cast<char>(c));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      std::snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    } else if (IsPrintable(c)) {
      return true;
    } else {
      const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(escape, sizeof escape, form, static_cast<unsigned>(c));
    }
    out->AppendSlice(text, plain, begin);
    out->Append(escape, text.IsInput(begin));
    plain = end;
    return true;
  });
  out->AppendSlice(text, plain, bytes.size());
  out->Append(std::string_view(&quote, 1), false);
}

void AppendItems(Runtime* run, const ListData& list, std::string_view begin, std::string_view end, MarkedText* out,
                 int depth) {
  out->Append(begin, false);
  for (size_t i = 0; i < list.items.size() && !run->failed(); ++i) {
    if (i > 0) out->Append(", ", false);
    AppendRepr(run, list.items[i], out, depth + 1);
  }
  if (list.kind == ListKind::kTuple && list.items.size() == 1) out->Append(",", false);
  out->Append(end, false);
}

void AppendList(Runtime* run, const ListData& list, MarkedText* out, int depth) {
  switch (list.kind) {
    case ListKind::kList:
      return AppendItems(run, list, "[", "]", out, depth);
    case ListKind::kTuple:
      return AppendItems(run, list, "(", ")", out, depth);
    case ListKind::kKeys:
      return AppendItems(run, list, "dict_keys([", "])", out, depth);
    case ListKind::kValues:
      return AppendItems(run, list, "dict_values([", "])", out, depth);
    case ListKind::kItems:
      return AppendItems(run, list, "dict_items([", "])", out, depth);
    case ListKind::kRange:
    case ListKind::kGenerator:
      // Python would print its own address or bounds; a template that prints one has a mistake.
      run->Fail(models::Concat("a ", list.kind == ListKind::kRange ? "range" : "generator",
                               " cannot be printed; turn it into a list first"));
      return;
  }
}

std::string IntText(const Value& value) {
  if (const uint64_t* big = value.AsBigInt()) return std::to_string(*big);
  int64_t number = 0;
  value.ToInt(&number);
  return std::to_string(number);
}

}  // namespace

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string text(buffer, end);
  const int exponent = std::atoi(text.c_str() + text.find('e') + 1);
  if (error != std::errc() || exponent < -4 || exponent >= 16) return text;
  const auto [fixed_end, fixed_error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string fixed(buffer, fixed_end);
  if (fixed_error == std::errc() && fixed.find('.') == fixed.npos) fixed += ".0";
  return fixed;
}

void AppendRepr(Runtime* run, const Value& value, MarkedText* out, int depth) {
  if (!run->Spend(1)) return;
  if (out->size() > run->limits().max_memory_bytes) {
    run->Reserve(out->size());
    return;
  }
  if (depth > kMaxValueDepth) {
    run->Fail(models::Concat("a value is nested more than ", kMaxValueDepth, " levels deep"));
    return;
  }
  if (const MarkedText* text = value.AsText()) return AppendQuoted(run, *text, out);
  if (const ListData* list = value.AsList()) return AppendList(run, *list, out, depth);
  if (const DictData* dict = value.AsDict()) {
    out->Append("{", false);
    bool first = true;
    for (const auto& [key, member] : dict->items) {
      if (run->failed()) return;
      if (!first) out->Append(", ", false);
      first = false;
      AppendRepr(run, key, out, depth + 1);
      out->Append(": ", false);
      AppendRepr(run, member, out, depth + 1);
    }
    return out->Append("}", false);
  }
  if (value.IsUndefined()) return out->Append("Undefined", false);
  AppendStr(run, value, out);
}

void AppendStr(Runtime* run, const Value& value, MarkedText* out) {
  if (const MarkedText* text = value.AsText()) {
    if (run->SpendBytes(text->size())) out->Append(*text);
  } else if (value.AsList() != nullptr || value.AsDict() != nullptr) {
    AppendRepr(run, value, out);
  } else if (const bool* flag = value.AsBool()) {
    out->Append(*flag ? "True" : "False", false);
  } else if (value.IsInt()) {
    out->Append(IntText(value), false);
  } else if (const double* number = value.AsFloat()) {
    out->Append(FloatRepr(*number), false);
  } else if (value.IsNone()) {
    out->Append("None", false);
  } else if (!value.IsUndefined()) {
    run->Fail(models::Concat("a ", value.TypeName(), " cannot be printed"));
  }
}

Value Str(Runtime* run, const Value& value) {
  if (value.IsText()) return value;
  MarkedText out;
  AppendStr(run, value, &out);
  return run->Text(std::move(out));
}

}  // namespace hadal::jinja
