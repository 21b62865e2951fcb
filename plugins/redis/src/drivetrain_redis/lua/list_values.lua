-- List the values of shards in the order of their keys.
-- ARGV: the number of shards; the least and the largest key, as ZRANGEBYLEX takes them; how many keys of each shard.
-- Reply: the time; for each shard a list: the last key that was passed, false if there are no more; keys and entries.
local now = clock()
local reply = {now}
for shard = 1, tonumber(ARGV[1]) do
  local base, count = KEYS[shard], tonumber(ARGV[4])
  local keys = call('ZRANGEBYLEX', base .. ':index', ARGV[2], ARGV[3], 'LIMIT', 0, count)
  local found = {#keys == count and keys[count]}
  for _, key in ipairs(keys) do
    local entry = get(base, key, now)
    if entry then
      insert(found, key)
      insert(found, entry)
    end
  end
  insert(reply, found)
end
return reply
