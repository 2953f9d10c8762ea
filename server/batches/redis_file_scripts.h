// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hadal::batches {

// What happens to files in Redis, each whole or not at all. KEYS[1] is the prefix of all keys; README.md says what is
// under them. A script that frees memory may run when there is none (allow-oom); all others are refused then.

// ARGV: id, owner, now, seconds. An upload is dropped by Redis unless it goes on. Gives {its number}, or {-1, files,
// bytes} of an owner who has as many as ARGV[5] files or ARGV[6] bytes; else also {.., .., bytes}.
inline constexpr std::string_view kBeginUpload = R"lua(#!lua
local p = KEYS[1]
local id, owner, now, seconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local has = redis.call('HMGET', p .. 'owner:' .. owner, 'files', 'bytes')
local files, bytes = tonumber(has[1] or 0), tonumber(has[2] or 0)
if files >= tonumber(ARGV[5]) or bytes >= tonumber(ARGV[6]) then return {-1, files, bytes} end
local number = redis.call('INCR', p .. 'numbers')
local file = p .. 'file:' .. number
redis.call('HSET', file, 'id', id, 'owner', owner, 'created', now)
redis.call('EXPIRE', file, seconds)
return {number, files, bytes}
)lua";

// ARGV: number, offset, bytes, seconds. 0: the upload is gone.
inline constexpr std::string_view kAppend = R"lua(#!lua
local p, number, seconds = KEYS[1], ARGV[1], tonumber(ARGV[4])
if redis.call('EXPIRE', p .. 'file:' .. number, seconds) == 0 then return 0 end
redis.call('SETRANGE', p .. 'data:' .. number, tonumber(ARGV[2]), ARGV[3])
redis.call('EXPIRE', p .. 'data:' .. number, seconds)
return 1
)lua";

// ARGV: number, name, bytes, seconds, most bytes of an owner. Gives 1; 0: the upload is gone; -1, bytes: too many.
inline constexpr std::string_view kFinishUpload = R"lua(#!lua
local p, number, bytes = KEYS[1], ARGV[1], tonumber(ARGV[3])
local file, data = p .. 'file:' .. number, p .. 'data:' .. number
local known = redis.call('HMGET', file, 'owner', 'created', 'id', 'ready')
if known[4] then return {1} end
if not known[1] or redis.call('STRLEN', data) ~= bytes then return {0} end
local owner = p .. 'owner:' .. known[1]
local used = tonumber(redis.call('HGET', owner, 'bytes') or 0) + bytes
if used > tonumber(ARGV[5]) then
  redis.call('DEL', file, data)
  return {-1, used}
end
local expires = tonumber(known[2]) + tonumber(ARGV[4])
redis.call('HSET', file, 'name', ARGV[2], 'purpose', 'batch', 'bytes', bytes, 'expires', expires, 'ready', 1)
redis.call('PERSIST', file)
redis.call('PERSIST', data)
redis.call('SET', p .. 'id:' .. known[3], number)
redis.call('ZADD', p .. 'files:' .. known[1], number, number)
redis.call('ZADD', p .. 'expiring', expires, number)
redis.call('HINCRBY', owner, 'bytes', bytes)
redis.call('HINCRBY', owner, 'files', 1)
return {1}
)lua";

// ARGV: number. An upload that is given up.
inline constexpr std::string_view kAbandon = R"lua(#!lua flags=allow-oom
local p, number = KEYS[1], ARGV[1]
if redis.call('HEXISTS', p .. 'file:' .. number, 'ready') == 1 then return 0 end
redis.call('DEL', p .. 'file:' .. number, p .. 'data:' .. number)
return 1
)lua";

// ARGV: number, now. Now is 0 for a client's wish; else the file goes only if its time is over. Gives the id of a batch
// that reads it, or an empty text.
inline constexpr std::string_view kDeleteFile = R"lua(#!lua flags=allow-oom
local p, number, now = KEYS[1], ARGV[1], tonumber(ARGV[2])
local file = p .. 'file:' .. number
local known = redis.call('HMGET', file, 'owner', 'bytes', 'batch', 'holds_errors', 'id', 'expires', 'ready')
if not known[7] then
  redis.call('ZREM', p .. 'expiring', number)
  return ''
end
if now > 0 and tonumber(known[6]) > now then return '' end
local readers = redis.call('SMEMBERS', p .. 'readers:' .. number)
if #readers > 0 then return readers[1] end
if known[3] then
  redis.call('UNLINK', p .. (known[4] == '1' and 'failed:' or 'completed:') .. known[3])
else
  redis.call('UNLINK', p .. 'data:' .. number)
  redis.call('HINCRBY', p .. 'owner:' .. known[1], 'files', -1)
end
redis.call('HINCRBY', p .. 'owner:' .. known[1], 'bytes', -tonumber(known[2]))
redis.call('ZREM', p .. 'files:' .. known[1], number)
redis.call('ZREM', p .. 'expiring', number)
redis.call('DEL', p .. 'id:' .. known[5], file)
return ''
)lua";

}  // namespace hadal::batches
