-- Functions that keep the index of tasks that have ended without success or will be tried again; by an option of the URL
-- also of those that succeeded. Not on a cluster, where the index and a task are on different nodes.
-- INDEXED has the states that are indexed; empty on a cluster.
--
-- Two sorted sets of task ids: `prefix:{i}` by the time at which they were added, in microseconds, each time a different
-- one; and `prefix:{i}:ends` by the end of the record, in milliseconds, if it has one. A record that Redis has expired
-- leaves its id in them until a script comes upon it. So the record counts, and the index only says where to look.
local STALE_AT_ONCE = 2  -- how many stale ids are dropped for each one that is added
local index_base, latest

local function split_key(key)
  local start = string.find(key, ':{t:', 1, true)
  index_base = sub(key, 1, start) .. '{i}'
  return sub(key, start + 4, -2)
end

local function task_key(id)
  return sub(index_base, 1, -4) .. '{t:' .. id .. '}'
end

local function remove_from_index(key)
  local id = split_key(key)
  call('ZREM', index_base, id)
  call('ZREM', index_base .. ':ends', id)
end

-- Let the index forget a task at the end of its record; `ends` is in seconds.
local function keep_in_index_until(key, ends)
  local id = split_key(key)
  call('ZADD', index_base .. ':ends', milliseconds(ends), id)
end

-- Drop ids whose record has expired, at most `most`; the number of ids that were due. An id may belong to a later record.
local function drop_stale(now, most)
  local due = call('ZRANGEBYSCORE', index_base .. ':ends', '-inf', milliseconds(now), 'LIMIT', 0, most)
  for _, id in ipairs(due) do
    local head = call('GETRANGE', task_key(id), 0, HEAD_BYTES - 1)
    if head == '' then
      call('ZREM', index_base, id)
      call('ZREM', index_base .. ':ends', id)
    else
      local flags, _, _, _, _, expires = struct.unpack(HEAD, head)
      if has(flags, HAS_EXPIRES) then  -- of a later record, or of this one, which Redis drops within a millisecond
        call('ZADD', index_base .. ':ends', milliseconds(expires), id)
      else
        call('ZREM', index_base .. ':ends', id)
      end
    end
  end
  return #due
end

-- Add a task as the newest one. `ends` is the end of its record in seconds, or false.
local function add_to_index(key, now, ends)
  local id = split_key(key)
  if not latest then
    latest = tonumber(call('ZREVRANGE', index_base, 0, 0, 'WITHSCORES')[2] or 0)
  end
  latest = math.max(latest + 1, math.floor(now * 1000000))
  call('ZADD', index_base, string.format('%.0f', latest), id)
  if ends then
    call('ZADD', index_base .. ':ends', milliseconds(ends), id)
    drop_stale(now, STALE_AT_ONCE)
  else
    call('ZREM', index_base .. ':ends', id)
  end
end
