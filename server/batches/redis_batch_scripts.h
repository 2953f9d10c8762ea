// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hadal::batches {

// What happens to batches and their lines in Redis, each whole or not at all, so that it does not matter which replica
// does it, nor when one dies. KEYS[1] is the prefix of all keys; README.md says what is under them. A script that ends
// something may run when the memory is full (allow-oom); all others are refused then.
//
// The lines of a batch that have not ended are the entries of its stream, LINE-1 each. That is the fence: a result
// counts if its entry is still there, and takes it away in the same script.

// ARGV: id, owner, endpoint, input's number, input's id, metadata, now, expires, result seconds, most that have not
// ended. Gives {number}; {-1, unended} beyond the limit; {0} when the input is gone.
inline constexpr std::string_view kCreateBatch = R"lua(#!lua
local p, id, owner, input = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local known = redis.call('GET', p .. 'id:' .. id)
if known then return {tonumber(known)} end
local unended = tonumber(redis.call('HGET', p .. 'owner:' .. owner, 'unended') or 0)
if unended >= tonumber(ARGV[10]) then return {-1, unended} end
if redis.call('HEXISTS', p .. 'file:' .. input, 'ready') == 0 then return {0} end
local number = redis.call('INCR', p .. 'numbers')
redis.call('HSET', p .. 'batch:' .. number, 'id', id, 'owner', owner, 'endpoint', ARGV[3], 'input_number', input,
  'input_file', ARGV[5], 'metadata', ARGV[6], 'status', 0, 'created', ARGV[7], 'reached_0', ARGV[7],
  'expires', ARGV[8], 'result_seconds', ARGV[9])
redis.call('SET', p .. 'id:' .. id, number)
redis.call('ZADD', p .. 'batches:' .. owner, number, number)
redis.call('ZADD', p .. 'unended', number, number)
redis.call('SADD', p .. 'readers:' .. input, id)
redis.call('HINCRBY', p .. 'owner:' .. owner, 'unended', 1)
return {number}
)lua";

// ARGV: number, now.
inline constexpr std::string_view kCancelBatch = R"lua(#!lua flags=allow-oom
local batch = KEYS[1] .. 'batch:' .. ARGV[1]
local status = redis.call('HGET', batch, 'status')
if status == '0' or status == '1' then redis.call('HSET', batch, 'status', 6, 'reached_6', ARGV[2]) end
return 1
)lua";

// ARGV: number, token ("replica/count"), milliseconds. 1: the input is the token's to read, from the beginning. A
// replica that asks again has not heard that it may.
inline constexpr std::string_view kBeginReading = R"lua(#!lua
local p, number, token = KEYS[1], ARGV[1], ARGV[2]
local batch, lines = p .. 'batch:' .. number, p .. 'lines:' .. number
local has = redis.call('HMGET', batch, 'status', 'reader', 'read_until')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if has[1] ~= '0' then return 0 end
local function replica(of) return string.match(of, '^[^/]*') end
if has[2] and replica(has[2]) ~= replica(token) and tonumber(has[3]) > now then return 0 end
redis.call('HSET', batch, 'reader', token, 'read_until', now + tonumber(ARGV[3]))
redis.call('DEL', lines, p .. 'custom_ids:' .. number)
redis.call('XGROUP', 'CREATE', lines, 'hadal', '0', 'MKSTREAM')
return 1
)lua";

// ARGV: number, token, milliseconds, then of each line: number, custom_id, offset, length. Gives {1}; {0}: the reading
// is not the token's any more; {-1, i, line}: the custom_id of the i-th line is that of another line.
inline constexpr std::string_view kAddLines = R"lua(#!lua
local p, number, token = KEYS[1], ARGV[1], ARGV[2]
local batch, lines, ids = p .. 'batch:' .. number, p .. 'lines:' .. number, p .. 'custom_ids:' .. number
local has = redis.call('HMGET', batch, 'status', 'reader')
if has[1] ~= '0' or has[2] ~= token then return {0} end
local seen = {}
for i = 4, #ARGV, 4 do
  local id = ARGV[i + 1]
  local first = seen[id] or redis.call('HGET', ids, id)
  if first and first ~= ARGV[i] then return {-1, (i - 4) / 4, tonumber(first)} end
  seen[id] = ARGV[i]
end
local last = redis.call('XREVRANGE', lines, '+', '-', 'COUNT', 1)[1]
local done = last and tonumber(string.match(last[1], '^%d+')) or 0
for i = 4, #ARGV, 4 do
  if tonumber(ARGV[i]) > done then
    redis.call('HSET', ids, ARGV[i + 1], ARGV[i])
    redis.call('XADD', lines, ARGV[i] .. '-1', 'custom_id', ARGV[i + 1], 'offset', ARGV[i + 2], 'length', ARGV[i + 3])
  end
end
local time = redis.call('TIME')
redis.call('HSET', batch, 'read_until', tonumber(time[1]) * 1000 + tonumber(ARGV[3]))
return {1}
)lua";

// ARGV: number, token, now. 1: its lines run.
inline constexpr std::string_view kBeginBatch = R"lua(#!lua
local p, number = KEYS[1], ARGV[1]
local batch = p .. 'batch:' .. number
local has = redis.call('HMGET', batch, 'status', 'reader')
if has[2] ~= ARGV[2] then return 0 end
if has[1] ~= '0' then return has[1] == '1' and 1 or 0 end
redis.call('HSET', batch, 'status', 1, 'reached_1', ARGV[3], 'total', redis.call('XLEN', p .. 'lines:' .. number))
redis.call('DEL', p .. 'custom_ids:' .. number)
return 1
)lua";

// ARGV: number, token, now, delete at, then of each error: code, message, line. 0: the reading is not the token's.
inline constexpr std::string_view kFailBatch = R"lua(#!lua flags=allow-oom
local p, number = KEYS[1], ARGV[1]
local batch = p .. 'batch:' .. number
local has = redis.call('HMGET', batch, 'status', 'reader', 'owner', 'input_number', 'id')
if has[1] == '4' then return 1 end
if has[1] ~= '0' or has[2] ~= ARGV[2] then return 0 end
for i = 5, #ARGV do redis.call('RPUSH', p .. 'errors:' .. number, ARGV[i]) end
redis.call('HSET', batch, 'status', 4, 'reached_4', ARGV[3])
redis.call('UNLINK', p .. 'lines:' .. number, p .. 'custom_ids:' .. number)
redis.call('ZREM', p .. 'unended', number)
redis.call('ZADD', p .. 'ended', ARGV[4], number)
redis.call('SREM', p .. 'readers:' .. has[4], has[5])
redis.call('HINCRBY', p .. 'owner:' .. has[3], 'unended', -1)
return 1
)lua";

// ARGV: number, replica, limit, milliseconds of silence, cursor, then the lines that the replica knows it holds. It may
// hold more, when Redis died between taking them and the reply: those come first and alone. Then lines of replicas that
// have gone silent, then new ones. Gives {cursor, lines taken over, new lines}, a line as {id, {field, value, ...}}.
inline constexpr std::string_view kTakeLines = R"lua(#!lua
local lines, replica, limit = KEYS[1] .. 'lines:' .. ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', lines) == 0 then return {'0-0', {}, {}} end
local held, known, unknown = 0, {}, {}
for _, consumer in ipairs(redis.call('XPENDING', lines, 'hadal')[4] or {}) do
  if consumer[1] == replica then held = tonumber(consumer[2]) end
end
if held > #ARGV - 5 then
  for i = 6, #ARGV do known[ARGV[i] .. '-1'] = true end
  local own = redis.call('XREADGROUP', 'GROUP', 'hadal', replica, 'COUNT', held, 'STREAMS', lines, '0')
  for _, line in ipairs(own and own[1] and own[1][2] or {}) do
    if line[2] and not known[line[1]] and #unknown < limit then unknown[#unknown + 1] = line end
  end
  if #unknown > 0 then return {ARGV[5], {}, unknown} end
end
local claimed = redis.call('XAUTOCLAIM', lines, 'hadal', replica, ARGV[4], ARGV[5], 'COUNT', limit)
local left = limit - #claimed[2]
if left == 0 then return {claimed[1], claimed[2], {}} end
local read = redis.call('XREADGROUP', 'GROUP', 'hadal', replica, 'COUNT', left, 'STREAMS', lines, '>')
return {claimed[1], claimed[2], read and read[1] and read[1][2] or {}}
)lua";

// ARGV: number, replica, idle milliseconds, then lines. Idle 0: the replica works on them; else they wait again. Gives
// those that are not with it.
inline constexpr std::string_view kKeepLines = R"lua(#!lua flags=allow-oom
local lines, replica, lost = KEYS[1] .. 'lines:' .. ARGV[1], ARGV[2], {}
for i = 4, #ARGV do
  local id = ARGV[i] .. '-1'
  local with = redis.pcall('XPENDING', lines, 'hadal', id, id, 1, replica)
  if with.err or #with == 0 then
    lost[#lost + 1] = tonumber(ARGV[i])
  else
    redis.call('XCLAIM', lines, 'hadal', replica, 0, id, 'IDLE', ARGV[3], 'JUSTID')
  end
end
return lost
)lua";

// ARGV of each line: batch, number, 1 if it completed, result. Gives the indices, from 0, of those that had ended
// before.
inline constexpr std::string_view kEndLines = R"lua(#!lua
local p, late = KEYS[1], {}
for i = 1, #ARGV, 4 do
  local lines, id = p .. 'lines:' .. ARGV[i], ARGV[i + 1] .. '-1'
  redis.call('XACK', lines, 'hadal', id)
  if redis.call('XDEL', lines, id) == 1 then
    local outcome = ARGV[i + 2] == '1' and 'completed' or 'failed'
    redis.call('RPUSH', p .. outcome .. ':' .. ARGV[i], ARGV[i + 3])
    redis.call('HINCRBY', p .. 'batch:' .. ARGV[i], outcome, 1)
    redis.call('HINCRBY', p .. 'batch:' .. ARGV[i], outcome .. '_bytes', #ARGV[i + 3])
  else
    late[#late + 1] = (i - 1) / 4
  end
end
return late
)lua";

// ARGV: number, status, now, code, message, ids of the files of completed and failed lines, delete at, result seconds.
// Some lines that wait fail; gives 2 while there are more of them. 1: it has ended, now or before. 0: for completed,
// lines are with others. What is needed for it is little and what it frees is much, so it may run out of memory.
inline constexpr std::string_view kEndBatch = R"lua(#!lua flags=allow-oom
local p, number, status, now = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local batch, lines = p .. 'batch:' .. number, p .. 'lines:' .. number
local has = redis.call('HMGET', batch, 'status', 'owner', 'input_number', 'id', 'total')
if has[1] ~= '0' and has[1] ~= '1' and has[1] ~= '6' then return 1 end
if status == '3' and (has[1] ~= '1' or redis.call('XLEN', lines) > 0) then return 0 end
if has[5] then
  local waiting = redis.call('XRANGE', lines, '-', '+', 'COUNT', 1000)
  for _, line in ipairs(waiting) do
    local result = '{"id":"batch_req_' .. string.sub(redis.sha1hex(has[4] .. line[1]), 1, 24) .. '","custom_id":' ..
      cjson.encode(line[2][2]) .. ',"response":null,"error":{"code":"' .. ARGV[4] .. '","message":"' .. ARGV[5] .. '"}}\n'
    redis.call('RPUSH', p .. 'failed:' .. number, result)
    redis.call('HINCRBY', batch, 'failed', 1)
    redis.call('HINCRBY', batch, 'failed_bytes', #result)
    redis.call('XDEL', lines, line[1])
  end
  if #waiting == 1000 then return 2 end
end
local owner = p .. 'owner:' .. has[2]
local function file(outcome, id, errors, name)
  if redis.call('EXISTS', p .. outcome .. ':' .. number) == 0 then return end
  local bytes, made = redis.call('HGET', batch, outcome .. '_bytes'), redis.call('INCR', p .. 'numbers')
  local expires = now + tonumber(ARGV[9])
  redis.call('HSET', p .. 'file:' .. made, 'id', id, 'owner', has[2], 'name', has[4] .. name, 'purpose', 'batch_output',
    'bytes', bytes, 'created', now, 'expires', expires, 'batch', number, 'holds_errors', errors, 'ready', 1)
  redis.call('SET', p .. 'id:' .. id, made)
  redis.call('ZADD', p .. 'files:' .. has[2], made, made)
  redis.call('ZADD', p .. 'expiring', expires, made)
  redis.call('HINCRBY', owner, 'bytes', bytes)
  redis.call('HSET', batch, errors == 1 and 'error_file' or 'output_file', id)
end
file('completed', ARGV[6], 0, '_output.jsonl')
file('failed', ARGV[7], 1, '_errors.jsonl')
redis.call('HSET', batch, 'status', status, 'reached_2', now, 'reached_' .. status, now)
redis.call('UNLINK', lines, p .. 'custom_ids:' .. number)
redis.call('ZREM', p .. 'unended', number)
redis.call('ZADD', p .. 'ended', ARGV[8], number)
redis.call('SREM', p .. 'readers:' .. has[3], has[4])
redis.call('HINCRBY', owner, 'unended', -1)
return 1
)lua";

// ARGV: number. An ended batch goes, with its results.
inline constexpr std::string_view kDeleteBatch = R"lua(#!lua flags=allow-oom
local p, number = KEYS[1], ARGV[1]
local has = redis.call('HMGET', p .. 'batch:' .. number, 'owner', 'id', 'output_file', 'error_file')
redis.call('ZREM', p .. 'ended', number)
if not has[1] then return 0 end
for i = 3, 4 do
  local file = has[i] and redis.call('GET', p .. 'id:' .. has[i])
  if file then
    redis.call('HINCRBY', p .. 'owner:' .. has[1], 'bytes', -tonumber(redis.call('HGET', p .. 'file:' .. file, 'bytes')))
    redis.call('ZREM', p .. 'files:' .. has[1], file)
    redis.call('ZREM', p .. 'expiring', file)
    redis.call('DEL', p .. 'file:' .. file, p .. 'id:' .. has[i])
  end
end
redis.call('UNLINK', p .. 'completed:' .. number, p .. 'failed:' .. number, p .. 'errors:' .. number)
redis.call('ZREM', p .. 'batches:' .. has[1], number)
redis.call('DEL', p .. 'id:' .. has[2], p .. 'batch:' .. number)
return 1
)lua";

}  // namespace hadal::batches
