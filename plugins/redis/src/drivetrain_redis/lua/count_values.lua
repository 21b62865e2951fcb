-- Count the values of shards, without expired ones.
-- ARGV: the number of shards. Reply: the number of values.
local now = clock()
local count = 0
for shard = 1, tonumber(ARGV[1]) do
  local base = KEYS[shard]
  count = count + call('HLEN', base) - call('ZCOUNT', base .. ':ends', '-inf', now)
end
return count
