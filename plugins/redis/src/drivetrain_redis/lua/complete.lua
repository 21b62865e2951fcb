-- Complete members of groups.
-- KEYS: their groups. ARGV: for each: its index, its payload, whether it failed.
-- Reply: for each the progress of its group: size, done, whether it has failed.
local reply = {}
for index, key in ipairs(KEYS) do
  reply[index] = complete(key, ARGV[3 * index - 2], ARGV[3 * index - 1], ARGV[3 * index] == '1')
end
return reply
