-- Drop expired values, a limited number of each shard.
-- ARGV: the number of shards.
local now = clock()
for shard = 1, tonumber(ARGV[1]) do
  drop_expired(KEYS[shard], now)
end
return 1
