// SPDX-License-Identifier: Apache-2.0
// Python's two ways to format: "%s and %5.2f" % values, and "{} and {name:>5}".format(...). Conversions d i f s r x,
// flags - 0 +, width and precision; anything else fails by name.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>

#include "models/concat.h"
#include "models/jinja/characters.h"
#include "models/jinja/format.h"

namespace hadal::jinja {
namespace {

constexpr int kMaxWidth = 10'000;

struct Spec {
  char align = 0;  // < > ^, 0: by type
  char fill = ' ';
  bool sign = false;
  int width = 0;
  int precision = -1;
  char type = 's';
};

// Digits at the begin of `*rest`; fails above kMaxWidth.
int ReadNumber(Runtime* run, std::string_view* rest) {
  int number = 0;
  while (!rest->empty() && (*rest)[0] >= '0' && (*rest)[0] <= '9') {
    number = number * 10 + ((*rest)[0] - '0');
    if (number > kMaxWidth) {
      run->Fail(models::Concat("a width or precision above ", kMaxWidth, " in a format"));
      return 0;
    }
    rest->remove_prefix(1);
  }
  return number;
}

void Pad(const Spec& spec, bool number, const MarkedText& body, MarkedText* out) {
  const size_t length = CountCharacters(body.bytes());
  const size_t missing = spec.width > static_cast<int>(length) ? static_cast<size_t>(spec.width) - length : 0;
  const char align = spec.align != 0 ? spec.align : number ? '>' : '<';
  const size_t before = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  size_t sign = 0;
  if (spec.fill == '0' && number && !body.empty() && (body.bytes()[0] == '-' || body.bytes()[0] == '+')) sign = 1;
  out->AppendSlice(body, 0, sign);
  out->Append(std::string(before, spec.fill), false);
  out->AppendSlice(body, sign, body.size());
  out->Append(std::string(missing - before, spec.fill), false);
}

void AppendFormatted(Runtime* run, const Spec& spec, const Value& value, MarkedText* out) {
  MarkedText body;
  bool number = false;
  switch (spec.type) {
    case 's':
    case 'r':
      if (spec.type == 's') {
        AppendStr(run, value, &body);
      } else {
        AppendRepr(run, value, &body);
      }
      number = value.IsNumber();
      if (spec.precision >= 0) body = body.Slice(0, OffsetOf(body.bytes(), static_cast<size_t>(spec.precision)));
      break;
    case 'd':
    case 'i':
    case 'x': {
      double real = 0;
      int64_t whole = 0;
      number = true;
      if (!value.ToInt(&whole)) {
        if (!value.ToDouble(&real) || !(real > -9e18 && real < 9e18) || spec.type == 'x') {
          run->Fail(models::Concat("a format wants an int, not '", value.TypeName(), "'"));
          return;
        }
        whole = static_cast<int64_t>(real);
      }
      char text[32];
      const char* end = std::to_chars(text, text + sizeof text, whole, spec.type == 'x' ? 16 : 10).ptr;
      body.Append(
          models::Concat(spec.sign && whole >= 0 ? "+" : "", std::string_view(text, static_cast<size_t>(end - text))),
          false);
      break;
    }
    case 'f': {
      double real = 0;
      number = true;
      if (!value.ToDouble(&real)) {
        run->Fail(models::Concat("a format wants a number, not '", value.TypeName(), "'"));
        return;
      }
      std::string text(
          static_cast<size_t>(std::snprintf(nullptr, 0, "%.*f", spec.precision < 0 ? 6 : spec.precision, real)) + 1, 0);
      std::snprintf(text.data(), text.size(), "%.*f", spec.precision < 0 ? 6 : spec.precision, real);
      text.pop_back();
      body.Append(models::Concat(spec.sign && real >= 0 ? "+" : "", text), false);
      break;
    }
    default:
      run->Fail(models::Concat("the conversion '", std::string(1, spec.type), "' is not supported in a format"));
      return;
  }
  Pad(spec, number, body, out);
}

// [[fill]align][sign][0][width][.precision][type]
Spec ReadBraceSpec(Runtime* run, std::string_view text) {
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^'; };
  Spec spec;
  if (text.size() > 1 && is_align(text[1]) && (static_cast<unsigned char>(text[0]) < 0x80)) {
    spec.fill = text[0];
    spec.align = text[1];
    text.remove_prefix(2);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  if (text.starts_with('+')) {
    spec.sign = true;
    text.remove_prefix(1);
  }
  if (text.starts_with('0')) spec.fill = '0';
  spec.width = ReadNumber(run, &text);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    spec.precision = ReadNumber(run, &text);
  }
  if (!text.empty()) {
    spec.type = text[0];
    text.remove_prefix(1);
  }
  if (!text.empty()) run->Fail(models::Concat("the format specifier '", text, "' is not supported"));
  return spec;
}

const Value* FieldOf(Runtime* run, std::string_view name, const CallArguments& arguments, size_t* next) {
  size_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (name.empty()) {
    index = (*next)++;
  } else if (error != std::errc() || end != name.data() + name.size()) {
    for (const auto& [key, value] : arguments.named) {
      if (key == name) return &value;
    }
    run->Fail(models::Concat("format() has no argument '", name, "'"));
    return nullptr;
  }
  if (index < arguments.positional.size()) return &arguments.positional[index];
  run->Fail(models::Concat("format() has no argument number ", index));
  return nullptr;
}

}  // namespace

Value FormatPercent(Runtime* run, const MarkedText& format, const Value& values) {
  const ListData* tuple = values.AsList();
  if (tuple != nullptr && tuple->kind != ListKind::kTuple) tuple = nullptr;
  size_t next = 0;
  const auto take = [&]() -> Value {
    const size_t count = tuple != nullptr ? tuple->items.size() : 1;
    if (next >= count) return run->Fail("not enough arguments for format string");
    return tuple != nullptr ? tuple->items[next++] : (++next, values);
  };
  MarkedText out;
  const std::string_view bytes = format.bytes();
  for (size_t at = 0; at < bytes.size() && run->SpendBytes(out.size() / 16);) {
    const size_t percent = std::min(bytes.find('%', at), bytes.size());
    out.AppendSlice(format, at, percent);
    if (percent == bytes.size()) break;
    std::string_view rest = bytes.substr(percent + 1);
    if (rest.starts_with('%')) {
      out.AppendSlice(format, percent, percent + 1);
      at = percent + 2;
      continue;
    }
    Spec spec;
    Value named;
    if (rest.starts_with('(')) {
      const size_t end = rest.find(')');
      const DictData* dict = values.AsDict();
      const Value* member = end == rest.npos || dict == nullptr ? nullptr : dict->Find(rest.substr(1, end - 1));
      if (member == nullptr) return run->Fail("a format names an argument that is not there");
      named = *member;
      next = 1;
      rest.remove_prefix(end + 1);
    }
    for (; !rest.empty() && (rest[0] == '-' || rest[0] == '0' || rest[0] == '+'); rest.remove_prefix(1)) {
      if (rest[0] == '-') spec.align = '<';
      if (rest[0] == '0') spec.fill = '0';
      if (rest[0] == '+') spec.sign = true;
    }
    if (spec.align == 0) spec.align = '>';
    spec.width = ReadNumber(run, &rest);
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      spec.precision = ReadNumber(run, &rest);
    }
    if (rest.empty()) return run->Fail("incomplete format");
    spec.type = rest[0];
    AppendFormatted(run, spec, named.IsUndefined() ? take() : named, &out);
    if (run->failed()) return Value();
    at = bytes.size() - rest.size() + 1;
  }
  if (tuple != nullptr ? next < tuple->items.size() : next == 0 && values.AsDict() == nullptr) {
    return run->Fail("not all arguments converted during string formatting");
  }
  return run->Text(std::move(out));
}

Value FormatBraces(Runtime* run, const MarkedText& format, const CallArguments& arguments) {
  MarkedText out;
  size_t next = 0;
  const std::string_view bytes = format.bytes();
  for (size_t at = 0; at < bytes.size() && run->SpendBytes(out.size() / 16);) {
    const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    out.AppendSlice(format, at, brace);
    if (brace == bytes.size()) break;
    if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
      out.AppendSlice(format, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    const size_t end = bytes.find('}', brace);
    if (bytes[brace] == '}' || end == bytes.npos) return run->Fail("a single '{' or '}' in a format");
    std::string_view field = bytes.substr(brace + 1, end - brace - 1);
    Spec spec;
    if (const size_t colon = field.find(':'); colon != field.npos) {
      spec = ReadBraceSpec(run, field.substr(colon + 1));
      field = field.substr(0, colon);
    }
    if (field.ends_with("!r") || field.ends_with("!s")) {
      spec.type = field.back();
      field.remove_suffix(2);
    }
    const Value* value = FieldOf(run, field, arguments, &next);
    if (value == nullptr || run->failed()) return Value();
    AppendFormatted(run, spec, *value, &out);
    if (run->failed()) return Value();
    at = end + 1;
  }
  return run->Text(std::move(out));
}

}  // namespace hadal::jinja
