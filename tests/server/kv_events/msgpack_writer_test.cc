// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/msgpack_writer.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace hadal::kv_events {
namespace {

template <typename Write>
std::string Hex(Write write) {
  std::string out;
  MsgpackWriter writer(&out);
  write(writer);
  return absl::BytesToHexString(out);
}

std::string Uint(uint64_t value) {
  return Hex([&](MsgpackWriter& writer) { writer.Uint(value); });
}

// Bytes as the specification has them, and as Python's msgpack.packb writes them.
TEST(MsgpackWriterTest, NumbersTakeTheirShortestForm) {
  EXPECT_EQ(Uint(0), "00");
  EXPECT_EQ(Uint(127), "7f");
  EXPECT_EQ(Uint(128), "cc80");
  EXPECT_EQ(Uint(255), "ccff");
  EXPECT_EQ(Uint(256), "cd0100");
  EXPECT_EQ(Uint(65535), "cdffff");
  EXPECT_EQ(Uint(65536), "ce00010000");
  EXPECT_EQ(Uint(UINT32_MAX), "ceffffffff");
  EXPECT_EQ(Uint(uint64_t{1} << 32), "cf0000000100000000");
  EXPECT_EQ(Uint(UINT64_MAX), "cfffffffffffffffff");
  EXPECT_EQ(Hex([](MsgpackWriter& writer) { writer.Double(1.5); }), "cb3ff8000000000000");
  EXPECT_EQ(Hex([](MsgpackWriter& writer) { writer.Nil(); }), "c0");
}

TEST(MsgpackWriterTest, StringsAndArraysSayTheirSize) {
  const auto text = [](size_t size) {
    return Hex([&](MsgpackWriter& writer) { writer.String(std::string(size, 'a')); });
  };
  EXPECT_EQ(text(0), "a0");
  EXPECT_EQ(text(31).substr(0, 4), "bf61");
  EXPECT_EQ(text(32).substr(0, 6), "d92061");
  EXPECT_EQ(text(256).substr(0, 8), "da010061");
  EXPECT_EQ(text(65536).substr(0, 12), "db0001000061");
  const auto array = [](size_t size) { return Hex([&](MsgpackWriter& writer) { writer.Array(size); }); };
  EXPECT_EQ(array(0), "90");
  EXPECT_EQ(array(15), "9f");
  EXPECT_EQ(array(16), "dc0010");
  EXPECT_EQ(array(65536), "dd00010000");
}

}  // namespace
}  // namespace hadal::kv_events
