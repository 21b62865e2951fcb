-- Write and remove values, in order.
-- ARGV: for each: the index of its shard in KEYS; its key; the version that it replaces, empty for any;
--   how long it lasts in microseconds, 0 without an end, -1 to remove it; the bytes of the value.
-- Reply: the time; for each two entries: its new version, 0 for a removal, or -1 if it is refused;
--   the entry that refuses it, or false.
local now = clock()
local reply = {now}

-- Notify the callers that wait under a topic. Each of them registers again if it waits on.
local function notify(base, topic)
  local watch = base .. ':watch:' .. topic
  local channels = pcall('ZRANGE', watch, 0, -1)
  if #channels > 0 then
    for _, channel in ipairs(channels) do
      call('PUBLISH', channel, '')
    end
    pcall('DEL', watch)
  end
end

-- By shard: the prefixes for which a caller waits.
local prefixes = {}

local function notify_all(base, key)
  notify(base, 'k' .. key)
  if not prefixes[base] then
    prefixes[base] = pcall('ZRANGE', base .. ':prefixes', 0, -1)
  end
  for _, prefix in ipairs(prefixes[base]) do
    if string.sub(key, 1, #prefix) == prefix then
      notify(base, 'p' .. prefix)
    end
  end
end

-- By shard: the last version, and whether it is a new one.
local last, is_new = {}, {}
for position = 1, #ARGV, 5 do
  local base, key, if_version = KEYS[tonumber(ARGV[position])], ARGV[position + 1], ARGV[position + 2]
  local span = tonumber(ARGV[position + 3])
  if not last[base] then
    last[base] = tonumber(call('GET', base .. ':version')) or 0
    drop_expired(base, now)  -- so that a namespace without a worker that sweeps does not grow
  end
  local entry, version = get(base, key, now)
  if if_version ~= '' and tonumber(if_version) ~= version then
    insert(reply, -1)
    insert(reply, entry)
  else
    version = 0
    if span < 0 then
      if entry then
        drop(base, key)
        notify_all(base, key)
      end
    else
      -- The clock is behind the last version only if it was set back, or after a million writes in a second. It counts
      -- where the last version is gone: after a FLUSHDB, or a failover that lost writes.
      version = math.max(last[base] + 1, now)
      last[base], is_new[base] = version, true
      local ends = span > 0 and now + span or 0
      call('HSET', base, key, struct.pack(HEAD, version, ends) .. ARGV[position + 4])
      call('ZADD', base .. ':index', 0, key)
      if ends > 0 then
        call('ZADD', base .. ':ends', ends, key)
      else
        call('ZREM', base .. ':ends', key)
      end
      notify_all(base, key)
    end
    insert(reply, version)
    insert(reply, false)
  end
end
for base in pairs(is_new) do
  call('SET', base .. ':version', string.format('%.0f', last[base]))
end
return reply
