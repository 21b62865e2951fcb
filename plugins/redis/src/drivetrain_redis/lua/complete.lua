-- Complete members of groups. KEYS: their groups. ARGV: for each its index, its payload, and whether it failed.
-- Reply: for each how its group stands, size, done and whether it has failed.
local reply = {}
for place, key in ipairs(KEYS) do
  reply[place] = complete(key, ARGV[3 * place - 2], ARGV[3 * place - 1], ARGV[3 * place] == '1')
end
return reply
