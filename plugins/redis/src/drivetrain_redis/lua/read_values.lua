-- Read values.
-- ARGV: for each: the index of its shard in KEYS; its key.
-- Reply: the time; for each its entry, or false.
local now = clock()
local reply = {now}
for position = 1, #ARGV, 2 do
  insert(reply, (get(KEYS[tonumber(ARGV[position])], ARGV[position + 1], now)))
end
return reply
