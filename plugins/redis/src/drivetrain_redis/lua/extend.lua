-- Hold messages for longer. ARGV: how long from now; for each queue how many, and their receipts.
-- Reply: for each receipt whether it is still its bearer's.
local ends = clock() + tonumber(ARGV[1])
local at = 2
local reply = {}
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local receipts = {unpack(ARGV, at + 1, at + count)}
  at = at + count + 1
  local _, _, mine = reclaim(base, receipts)
  local held = {}
  for _, receipt in ipairs(receipts) do
    reply[#reply + 1] = mine[receipt] and 1 or 0
    if mine[receipt] then
      held[#held + 1] = ends
      held[#held + 1] = receipt
    end
  end
  if #held > 0 then
    call('ZADD', base .. ':held', unpack(held))
    ring_past(base, ends)
  end
end
return reply
