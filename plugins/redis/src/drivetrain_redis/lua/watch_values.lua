-- Register a caller that waits for a change of values, or remove it.
-- ARGV: its channel; after how many microseconds it is forgotten, 0 to remove it now;
--   then for each: the index of its shard in KEYS; k and a key, or p and a prefix.
local now = clock()
local channel, span = ARGV[1], tonumber(ARGV[2])
for position = 3, #ARGV, 2 do
  local base, topic = KEYS[tonumber(ARGV[position])], ARGV[position + 1]
  local watch, prefixes = base .. ':watch:' .. topic, base .. ':prefixes'
  local prefix = string.sub(topic, 1, 1) == 'p' and string.sub(topic, 2)
  if span > 0 then
    pcall('ZREMRANGEBYSCORE', watch, '-inf', now)
    pcall('ZADD', watch, now + span, channel)
    pcall('PEXPIRE', watch, math.ceil(span / 1000))
    if prefix then
      pcall('ZREMRANGEBYSCORE', prefixes, '-inf', now)
      pcall('ZADD', prefixes, now + span, prefix)
      pcall('PEXPIRE', prefixes, math.ceil(span / 1000))
    end
  else
    pcall('ZREM', watch, channel)
    if prefix and pcall('EXISTS', watch) == 0 then
      pcall('ZREM', prefixes, prefix)
    end
  end
end
return 1
