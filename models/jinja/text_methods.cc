// SPDX-License-Identifier: Apache-2.0
// Methods of str.
#include <algorithm>

#include "models/jinja/builtins.h"
#include "models/jinja/format.h"
#include "models/jinja/text_functions.h"

namespace hadal::jinja {
namespace {

using Arguments = CallArguments;

const MarkedText& Self(const Value& value) { return *value.AsText(); }

// The text, or null for an undefined or None value.
const MarkedText* Optional(Runtime* run, std::string_view what, const Value& value) {
  return value.IsUndefined() || value.IsNone() ? nullptr : run->TextOf(what, value);
}

template <MarkedText (*kMap)(const MarkedText&)>
Value Mapped(Runtime* run, const Value& self, const Arguments& arguments) {
  run->Bind("str method", arguments, {});
  if (!run->SpendBytes(Self(self).size() * 8)) return Value();
  return run->Text(kMap(Self(self)), self.IsMarkup());
}

MarkedText Title(const MarkedText& text) {
  bool in_word = false;
  return MapCharacters(text, [&](char32_t c, size_t) {
    const CasedCharacter mapped = in_word ? FullLower(c) : FullTitle(c);
    in_word = IsAlpha(c);
    return mapped;
  });
}

MarkedText SwapCase(const MarkedText& text) {
  return MapCharacters(text, [](char32_t c, size_t) { return ToLower(c) != c ? FullLower(c) : FullUpper(c); });
}

template <bool kFront, bool kBack>
Value StripMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("strip", arguments, {"chars"});
  const MarkedText* chars = Optional(run, "strip", bound[0]);
  if (run->failed() || !run->SpendBytes(Self(self).size())) return Value();
  return run->Text(Strip(Self(self), chars, kFront, kBack), self.IsMarkup());
}

Value ListOf(Runtime* run, std::vector<MarkedText> parts) {
  std::vector<Value> items;
  for (MarkedText& part : parts) items.push_back(run->Text(std::move(part)));
  return run->NewList(std::move(items));
}

template <bool kBack>
Value SplitMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("split", arguments, {"sep", "maxsplit"});
  const MarkedText* separator = Optional(run, "split", bound[0]);
  const int64_t most = run->IntOr("split", bound[1], -1);
  if (run->failed()) return Value();
  return ListOf(run, Split(run, Self(self), separator, most, kBack));
}

Value SplitLinesMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("splitlines", arguments, {"keepends"});
  if (!run->SpendBytes(Self(self).size())) return Value();
  return ListOf(run, SplitLines(Self(self), bound[0].IsTrue()));
}

Value ReplaceMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("replace", arguments, {"old", "new", "count"}, 2);
  const MarkedText* from = run->TextOf("replace", bound[0]);
  const MarkedText* to = run->TextOf("replace", bound[1]);
  const int64_t count = run->IntOr("replace", bound[2], -1);
  if (run->failed()) return Value();
  return run->Text(Replace(run, Self(self), *from, *to, count));
}

template <bool kEnd>
Value AffixTest(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind(kEnd ? "endswith" : "startswith", arguments, {kEnd ? "suffix" : "prefix"}, 1);
  const auto matches = [&](const Value& affix) {
    const MarkedText* text = run->TextOf("startswith", affix);
    if (text == nullptr) return false;
    return kEnd ? Self(self).bytes().ends_with(text->bytes()) : Self(self).bytes().starts_with(text->bytes());
  };
  const ListData* several = bound[0].AsList();
  if (several == nullptr) return Value::Bool(matches(bound[0]));
  return Value::Bool(std::any_of(several->items.begin(), several->items.end(), matches));
}

template <bool kEnd>
Value RemoveAffix(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("removeprefix", arguments, {"affix"}, 1);
  const MarkedText* affix = run->TextOf("removeprefix", bound[0]);
  if (affix == nullptr) return Value();
  const MarkedText& text = Self(self);
  const bool has = kEnd ? text.bytes().ends_with(affix->bytes()) : text.bytes().starts_with(affix->bytes());
  if (!has) return self;
  return run->Text(kEnd ? text.Slice(0, text.size() - affix->size()) : text.Slice(affix->size(), text.size()));
}

// Where `part` is, in characters; -1 or an error without it.
template <bool kBack, bool kMust>
Value FindMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("find", arguments, {"sub"}, 1);
  const MarkedText* part = run->TextOf("find", bound[0]);
  const std::string_view text = Self(self).bytes();
  if (part == nullptr || !run->SpendBytes(text.size())) return Value();
  const size_t at = kBack ? text.rfind(part->bytes()) : text.find(part->bytes());
  if (at == text.npos) return kMust ? run->Fail("substring not found") : Value::Int(-1);
  return Value::Int(static_cast<int64_t>(CountCharacters(text.substr(0, at))));
}

Value CountMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("count", arguments, {"sub"}, 1);
  const MarkedText* part = run->TextOf("count", bound[0]);
  const std::string_view text = Self(self).bytes();
  if (part == nullptr || !run->SpendBytes(text.size())) return Value();
  if (part->empty()) return Value::Int(static_cast<int64_t>(CountCharacters(text)) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = text.find(part->bytes(), at)) != text.npos; at += part->size()) ++count;
  return Value::Int(count);
}

Value JoinMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("join", arguments, {"iterable"}, 1);
  const List items = run->Items(bound[0]);
  if (items == nullptr) return Value();
  MarkedText out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const MarkedText* text = run->TextOf("join", items->items[i]);
    if (text == nullptr || !run->SpendBytes(text->size()) || !run->Reserve(out.size() + text->size())) return Value();
    if (i > 0) out.Append(Self(self));
    out.Append(*text);
  }
  return run->Text(std::move(out));
}

template <bool kBack>
Value PartitionMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("partition", arguments, {"sep"}, 1);
  const MarkedText* part = run->TextOf("partition", bound[0]);
  if (part == nullptr || !run->SpendBytes(Self(self).size())) return Value();
  if (part->empty()) return run->Fail("empty separator");
  const MarkedText& text = Self(self);
  const size_t at = kBack ? text.bytes().rfind(part->bytes()) : text.bytes().find(part->bytes());
  const Value nothing = run->Text(MarkedText());
  if (at == std::string_view::npos) {
    if (kBack) return run->NewList({nothing, nothing, self}, ListKind::kTuple);
    return run->NewList({self, nothing, nothing}, ListKind::kTuple);
  }
  return run->NewList({run->Text(text.Slice(0, at)), bound[0], run->Text(text.Slice(at + part->size(), text.size()))},
                      ListKind::kTuple);
}

template <char kAlign>
Value JustifyMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("center", arguments, {"width", "fillchar"}, 1);
  const MarkedText* fill = Optional(run, "center", bound[1]);
  if (fill != nullptr && CountCharacters(fill->bytes()) != 1)
    return run->Fail("The fill character must be exactly one character long");
  const int64_t width = run->IntOr("center", bound[0], 0);
  if (run->failed()) return Value();
  return Justify(run, Self(self), width, fill == nullptr ? " " : fill->bytes(), kAlign);
}

Value ZfillMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  const auto bound = run->Bind("zfill", arguments, {"width"}, 1);
  const int64_t width = run->IntOr("zfill", bound[0], 0);
  const MarkedText& text = Self(self);
  const size_t sign = !text.empty() && (text.bytes()[0] == '-' || text.bytes()[0] == '+') ? 1 : 0;
  const Value digits = Justify(run, text.Slice(sign, text.size()), width - static_cast<int64_t>(sign), "0", '>');
  if (run->failed() || sign == 0) return digits;
  MarkedText out = text.Slice(0, 1);
  out.Append(*digits.AsText());
  return run->Text(std::move(out));
}

template <bool (*kIs)(char32_t)>
Value AllAre(Runtime* run, const Value& self, const Arguments& arguments) {
  run->Bind("str method", arguments, {});
  if (!run->SpendBytes(Self(self).size() * 8)) return Value();
  bool all = !Self(self).empty();
  ForEachCharacter(Self(self).bytes(), [&](char32_t c, size_t, size_t) { return all = kIs(c); });
  return Value::Bool(all);
}

bool IsAlnum(char32_t c) { return IsAlpha(c) || IsNumeric(c); }

// Whether there are letters with a case, and all have this one.
template <bool kUpper>
Value CaseTest(Runtime* run, const Value& self, const Arguments& arguments) {
  run->Bind("str method", arguments, {});
  if (!run->SpendBytes(Self(self).size() * 8)) return Value();
  bool any = false, all = true;
  ForEachCharacter(Self(self).bytes(), [&](char32_t c, size_t, size_t) {
    const bool upper = ToLower(c) != c;
    const bool lower = ToUpper(c) != c;
    any |= kUpper ? upper : lower;
    all = kUpper ? !lower : !upper;
    return all;
  });
  return Value::Bool(any && all);
}

Value FormatMethod(Runtime* run, const Value& self, const Arguments& arguments) {
  return FormatBraces(run, Self(self), arguments);
}

}  // namespace

absl::Span<const NamedFilter> TextMethods() {
  static constexpr NamedFilter kMethods[] = {
      {"capitalize", Mapped<Capitalize>},
      {"casefold", Mapped<Lower>},
      {"center", JustifyMethod<'^'>},
      {"count", CountMethod},
      {"endswith", AffixTest<true>},
      {"find", FindMethod<false, false>},
      {"format", FormatMethod},
      {"index", FindMethod<false, true>},
      {"isalnum", AllAre<IsAlnum>},
      {"isalpha", AllAre<IsAlpha>},
      {"isdecimal", AllAre<IsDigit>},
      {"isdigit", AllAre<IsDigit>},
      {"islower", CaseTest<false>},
      {"isnumeric", AllAre<IsNumeric>},
      {"isspace", AllAre<IsSpace>},
      {"isupper", CaseTest<true>},
      {"join", JoinMethod},
      {"ljust", JustifyMethod<'<'>},
      {"lower", Mapped<Lower>},
      {"lstrip", StripMethod<true, false>},
      {"partition", PartitionMethod<false>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"replace", ReplaceMethod},
      {"rfind", FindMethod<true, false>},
      {"rindex", FindMethod<true, true>},
      {"rjust", JustifyMethod<'>'>},
      {"rpartition", PartitionMethod<true>},
      {"rsplit", SplitMethod<true>},
      {"rstrip", StripMethod<false, true>},
      {"split", SplitMethod<false>},
      {"splitlines", SplitLinesMethod},
      {"startswith", AffixTest<false>},
      {"strip", StripMethod<true, true>},
      {"swapcase", Mapped<SwapCase>},
      {"title", Mapped<Title>},
      {"upper", Mapped<Upper>},
      {"zfill", ZfillMethod},
  };
  return kMethods;
}

}  // namespace hadal::jinja
