// SPDX-License-Identifier: Apache-2.0
// Filters over one value: text, numbers, JSON.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/format.h"
#include "models/jinja/operators.h"
#include "models/jinja/text_functions.h"

namespace hadal::jinja {
namespace {

using Arguments = CallArguments;

constexpr int64_t kMaxIndent = 1000;

// The text of any value, as Jinja's soft_str.
Value Soft(Runtime* run, const Value& input) {
  const Value text = Str(run, input);
  return text.IsText() ? text : Value::String("", false);
}

template <MarkedText (*kMap)(const MarkedText&)>
Value Mapped(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("filter", arguments, {});
  const Value text = Soft(run, input);
  if (!run->SpendBytes(text.AsText()->size() * 8)) return Value();
  return run->Text(kMap(*text.AsText()), text.IsMarkup());
}

// Jinja's own rule for words: they begin after spaces, hyphens and opening brackets.
MarkedText JinjaTitle(const MarkedText& text) {
  bool in_word = false;
  return MapCharacters(text, [&](char32_t c, size_t) {
    const bool between = IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    const CasedCharacter mapped = between ? CasedCharacter{c} : in_word ? FullLower(c) : FullUpper(c);
    in_word = !between;
    return mapped;
  });
}

Value TrimFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("trim", arguments, {"chars"});
  const Value text = Soft(run, input);
  const bool given = !bound[0].IsUndefined() && !bound[0].IsNone();
  const MarkedText* chars = given ? run->TextOf("trim", bound[0]) : nullptr;
  if (run->failed() || !run->SpendBytes(text.AsText()->size())) return Value();
  return run->Text(Strip(*text.AsText(), chars, true, true), text.IsMarkup());
}

Value ReplaceFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("replace", arguments, {"old", "new", "count"}, 2);
  const Value text = Soft(run, input), from = Soft(run, bound[0]), to = Soft(run, bound[1]);
  const int64_t count = run->IntOr("replace", bound[2], -1);
  if (run->failed()) return Value();
  return run->Text(Replace(run, *text.AsText(), *from.AsText(), *to.AsText(), count));
}

Value DefaultFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("default", arguments, {"default_value", "boolean"});
  if (!input.IsUndefined() && !(bound[1].IsTrue() && !input.IsTrue())) return input;
  const bool given =
      !arguments.positional.empty() || std::any_of(arguments.named.begin(), arguments.named.end(),
                                                   [](const auto& named) { return named.first == "default_value"; });
  return given ? bound[0] : Value::String("", false);
}

Value StringFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("string", arguments, {});
  return Soft(run, input);
}

Value SafeFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("safe", arguments, {});
  return run->Text(*Soft(run, input).AsText(), /*markup=*/true);
}

Value EscapeFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("escape", arguments, {});
  const Value text = Soft(run, input);
  if (text.IsMarkup()) return text;
  // What is added to a safe text gets escaped.
  return Arithmetic(run, BinaryOp::kAdd, run->Text(MarkedText(), /*markup=*/true), text);
}

Value FormatFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const Value format = Soft(run, input);
  if (arguments.named.empty())
    return FormatPercent(run, *format.AsText(), run->NewList(arguments.positional, ListKind::kTuple));
  DictData dict;
  for (const auto& [name, value] : arguments.named) dict.Set(Value::String(name, false), value);
  return FormatPercent(run, *format.AsText(), run->NewDict(std::move(dict)));
}

Value IndentFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("indent", arguments, {"width", "first", "blank"});
  const Value text = Soft(run, input);
  MarkedText indent;
  if (const MarkedText* given = bound[0].AsText()) {
    indent = *given;
  } else {
    const int64_t width = run->IntOr("indent", bound[0], 4);
    if (width > kMaxIndent) return run->Fail(models::Concat("an indent above ", kMaxIndent));
    indent.Append(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '), false);
  }
  if (run->failed() || !run->SpendBytes(text.AsText()->size())) return Value();
  MarkedText whole = *text.AsText();
  whole.Append("\n", false);
  const std::vector<MarkedText> lines = SplitLines(whole, false);
  MarkedText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!run->Reserve(out.size() + indent.size()) || !run->SpendBytes(indent.size())) return Value();
    if (i > 0) out.Append("\n", false);
    const bool indented = i == 0 ? bound[1].IsTrue() : bound[2].IsTrue() || !lines[i].empty();
    if (indented) out.Append(indent);
    out.Append(lines[i]);
  }
  return run->Text(std::move(out));
}

// A whole text as a number, with spaces around it; false for what is none.
bool ParseDouble(std::string_view text, double* out) {
  const MarkedText stripped = Strip(MarkedText(std::string(text), false), nullptr, true, true);
  const std::string number(stripped.bytes());
  if (number.empty() || number.find_first_of("xXpP") != number.npos) return false;
  char* end = nullptr;
  *out = std::strtod(number.c_str(), &end);
  return end == number.c_str() + number.size();
}

Value Truncated(Runtime* run, double number, const Value& fallback) {
  if (!(number > -9.2e18 && number < 9.2e18))
    return std::isfinite(number) ? run->Fail("int() is out of the range of 64 bits") : fallback;
  return Value::Int(static_cast<int64_t>(number));
}

Value IntFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("int", arguments, {"default", "base"});
  const Value fallback = bound[0].IsUndefined() ? Value::Int(0) : bound[0];
  const int64_t base = run->IntOr("int", bound[1], 10);
  if (base != 0 && (base < 2 || base > 36)) return fallback;
  int64_t number = 0;
  if (input.ToInt(&number)) return Value::Int(number);
  if (input.IsInt()) return input;
  if (const double* real = input.AsFloat()) return Truncated(run, *real, fallback);
  const MarkedText* text = input.AsText();
  if (text == nullptr || !run->SpendBytes(text->size())) return fallback;
  const std::string digits(Strip(*text, nullptr, true, true).bytes());
  char* end = nullptr;
  errno = 0;
  number = std::strtoll(digits.c_str(), &end, static_cast<int>(base));
  if (!digits.empty() && end == digits.c_str() + digits.size()) {
    return errno == ERANGE ? run->Fail("int() is out of the range of 64 bits") : Value::Int(number);
  }
  double real = 0;
  return ParseDouble(digits, &real) ? Truncated(run, real, fallback) : fallback;
}

Value FloatFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("float", arguments, {"default"});
  double number = 0;
  if (input.ToDouble(&number)) return Value::Float(number);
  const MarkedText* text = input.AsText();
  if (text != nullptr && run->SpendBytes(text->size()) && ParseDouble(text->bytes(), &number))
    return Value::Float(number);
  return bound[0].IsUndefined() ? Value::Float(0) : bound[0];
}

Value AbsFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("abs", arguments, {});
  double number = 0;
  if (!input.ToDouble(&number))
    return run->Fail(models::Concat("bad operand type for abs(): '", input.TypeName(), "'"));
  return number < 0 ? Negate(run, input) : input;
}

Value RoundFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("round", arguments, {"precision", "method"});
  const int64_t precision = std::clamp<int64_t>(run->IntOr("round", bound[0], 0), -300, 300);
  const std::string_view method = bound[1].IsText() ? bound[1].AsText()->bytes() : "common";
  double number = 0;
  if (!input.ToDouble(&number))
    return run->Fail(models::Concat("round() wants a number, not '", input.TypeName(), "'"));
  if (method == "common") {
    if (!input.IsFloat() && precision >= 0) return input;
    // As many digits as asked, correctly rounded, as Python's round.
    char text[400];
    if (precision >= 0 && std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), number) < 400) {
      return Value::Float(std::strtod(text, nullptr));
    }
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    const double rounded = std::nearbyint(number / scale) * scale;
    return input.IsFloat() ? Value::Float(rounded) : Value::Int(static_cast<int64_t>(rounded));
  }
  if (method != "ceil" && method != "floor") return run->Fail("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return Value::Float((method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale);
}

Value TruncateFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Value text = Soft(run, input);
  const MarkedText dots("...", false);
  const MarkedText* end = bound[2].IsUndefined() ? &dots : run->TextOf("truncate", bound[2]);
  const int64_t length = run->IntOr("truncate", bound[0], 255);
  const int64_t leeway = run->IntOr("truncate", bound[3], 5);
  if (run->failed() || !run->SpendBytes(text.AsText()->size())) return Value();
  const std::string_view bytes = text.AsText()->bytes();
  if (static_cast<int64_t>(CountCharacters(bytes)) <= length + leeway) return text;
  const auto kept = length - static_cast<int64_t>(CountCharacters(end->bytes()));
  if (kept < 0) return run->Fail("truncate() wants a length of at least its end");
  size_t cut = OffsetOf(bytes, static_cast<size_t>(kept));
  if (!bound[1].IsTrue()) {
    const size_t space = bytes.substr(0, cut).rfind(' ');
    if (space != bytes.npos) cut = space;
  }
  MarkedText out = text.AsText()->Slice(0, cut);
  out.Append(*end);
  return run->Text(std::move(out));
}

Value WordCountFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("wordcount", arguments, {});
  const Value text = Soft(run, input);
  if (!run->SpendBytes(text.AsText()->size() * 8)) return Value();
  int64_t words = 0;
  bool in_word = false;
  ForEachCharacter(text.AsText()->bytes(), [&](char32_t c, size_t, size_t) {
    const bool word = IsAlpha(c) || IsNumeric(c) || c == '_';
    words += word && !in_word ? 1 : 0;
    in_word = word;
    return true;
  });
  return Value::Int(words);
}

Value CenterFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("center", arguments, {"width"});
  const Value text = Soft(run, input);
  return Justify(run, *text.AsText(), run->IntOr("center", bound[0], 80), " ", '^');
}

Value ToJsonFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = bound[0].IsTrue();
  options.sort_keys = bound[3].IsTrue();
  options.has_indent = !bound[1].IsUndefined() && !bound[1].IsNone();
  if (const MarkedText* indent = bound[1].AsText()) {
    options.indent = indent->bytes();
  } else if (options.has_indent) {
    const int64_t width = run->IntOr("tojson", bound[1], 0);
    if (width > kMaxIndent) return run->Fail(models::Concat("an indent above ", kMaxIndent));
    options.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  if (options.has_indent) options.item_separator = ",";
  if (const ListData* separators = bound[2].AsList()) {
    if (separators->items.size() != 2) return run->Fail("tojson() wants two separators");
    const MarkedText* item = run->TextOf("tojson", separators->items[0]);
    const MarkedText* key = run->TextOf("tojson", separators->items[1]);
    if (run->failed()) return Value();
    options.item_separator = item->bytes();
    options.key_separator = key->bytes();
  }
  MarkedText out;
  AppendJson(run, input, options, &out);
  return run->Text(std::move(out));
}

}  // namespace

absl::Span<const NamedFilter> TextFilters() {
  static constexpr NamedFilter kFilters[] = {
      {"abs", AbsFilter},
      {"capitalize", Mapped<Capitalize>},
      {"center", CenterFilter},
      {"d", DefaultFilter},
      {"default", DefaultFilter},
      {"e", EscapeFilter},
      {"escape", EscapeFilter},
      {"float", FloatFilter},
      {"format", FormatFilter},
      {"indent", IndentFilter},
      {"int", IntFilter},
      {"lower", Mapped<Lower>},
      {"replace", ReplaceFilter},
      {"round", RoundFilter},
      {"safe", SafeFilter},
      {"string", StringFilter},
      {"title", Mapped<JinjaTitle>},
      {"tojson", ToJsonFilter},
      {"trim", TrimFilter},
      {"truncate", TruncateFilter},
      {"upper", Mapped<Upper>},
      {"wordcount", WordCountFilter},
  };
  return kFilters;
}

}  // namespace hadal::jinja
