-- Functions that the scripts of versioned values share.
--
-- The values of a namespace are in shards. A shard has four keys of one slot:
--   its base, which ends with a brace: a hash of the values by their key;
--   :index: a sorted set of the keys of the hash, all with score 0, in the order of their bytes;
--   :ends: a sorted set of the keys of the values that expire, by their end;
--   :version: the last version. It has no end, so versions grow after a value is gone.
--
-- A caller that waits for a change has registered its channel, one-time, in a sorted set by expiry:
--   :watch:k and a key: for that key;
--   :watch:p and a prefix, listed in :prefixes by expiry: for all keys that begin so.
-- These keys are not declared to a cluster, so they are used by pcall: while a slot moves, a caller is not notified, and
-- finds the change when it looks again.
-- An entry of the hash is its version, its end (0 for none) and the bytes of the value. Times are microseconds.
local call, insert = redis.call, table.insert
local pcall = redis.pcall

local HEAD = '>dd'
-- How many expired values a call drops from a shard at most.
local MOST_DROPPED = 1000

local function clock()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The entry of a key, and its version; false and 0 if nothing is stored.
local function get(base, key, now)
  local entry = call('HGET', base, key)
  if not entry then
    return false, 0
  end
  local version, ends = struct.unpack(HEAD, entry)
  if ends ~= 0 and ends <= now then
    return false, 0
  end
  return entry, version
end

local function drop(base, key)
  call('HDEL', base, key)
  call('ZREM', base .. ':index', key)
  call('ZREM', base .. ':ends', key)
end

-- Drop the values that expired first. Returns how many.
local function drop_expired(base, now)
  local keys = call('ZRANGEBYSCORE', base .. ':ends', '-inf', now, 'LIMIT', 0, MOST_DROPPED)
  for _, key in ipairs(keys) do
    drop(base, key)
  end
  return #keys
end
