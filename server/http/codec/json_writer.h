// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::http {

// Appends `text` as a quoted JSON string. Invalid UTF-8 becomes U+FFFD, so that the output is JSON for any input.
void AppendJsonString(std::string_view text, std::string* out);
// Numbers as JSON; NaN and infinities, which JSON cannot express, become -9999 (the API's "not known").
void AppendJsonNumber(double value, std::string* out);
void AppendJsonNumber(float value, std::string* out);
void AppendJsonNumber(int64_t value, std::string* out);

// Writes nested JSON without building a tree and sets the commas. Appends to `out`, which must outlive it.
class JsonWriter {
 public:
  explicit JsonWriter(std::string* out) : out_(out) {}

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view name);
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& Double(double value);
  JsonWriter& Float(float value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  // `json` is one complete JSON value.
  JsonWriter& Raw(std::string_view json);
  // `members` are one or more complete members of the object, with commas between them.
  JsonWriter& Members(std::string_view members) { return Raw(members); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();

  std::string* out_;
  bool need_comma_ = false;
};

}  // namespace hadal::http
