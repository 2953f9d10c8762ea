// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/msgpack_writer.h"

#include <cstring>

namespace hadal::kv_events {

void MsgpackWriter::Put(uint8_t first, uint64_t value, int bytes) {
  out_->push_back(static_cast<char>(first));
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out_->push_back(static_cast<char>(value >> shift));
}

void MsgpackWriter::Nil() { Put(0xc0, 0, 0); }

void MsgpackWriter::Uint(uint64_t value) {
  if (value < 0x80) {
    Put(static_cast<uint8_t>(value), 0, 0);
  } else if (value <= UINT8_MAX) {
    Put(0xcc, value, 1);
  } else if (value <= UINT16_MAX) {
    Put(0xcd, value, 2);
  } else if (value <= UINT32_MAX) {
    Put(0xce, value, 4);
  } else {
    Put(0xcf, value, 8);
  }
}

void MsgpackWriter::Double(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  Put(0xcb, bits, 8);
}

void MsgpackWriter::String(std::string_view value) {
  if (value.size() < 32) {
    Put(static_cast<uint8_t>(0xa0 | value.size()), 0, 0);
  } else if (value.size() <= UINT8_MAX) {
    Put(0xd9, value.size(), 1);
  } else if (value.size() <= UINT16_MAX) {
    Put(0xda, value.size(), 2);
  } else {
    Put(0xdb, value.size(), 4);
  }
  out_->append(value);
}

void MsgpackWriter::Array(size_t size) {
  if (size < 16) {
    Put(static_cast<uint8_t>(0x90 | size), 0, 0);
  } else if (size <= UINT16_MAX) {
    Put(0xdc, size, 2);
  } else {
    Put(0xdd, size, 4);
  }
}

}  // namespace hadal::kv_events
