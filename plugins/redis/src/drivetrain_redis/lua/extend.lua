-- Hold messages for longer.
-- ARGV: how long from now; for each queue: how many receipts, and the receipts.
-- Reply: for each whether it is still valid.
local ends = clock() + tonumber(ARGV[1])
local at = 2
local reply = {}
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local receipts = {unpack(ARGV, at + 1, at + count)}
  at = at + count + 1
  local _, _, valid = reclaim(base, receipts)
  local held = {}
  for _, receipt in ipairs(receipts) do
    reply[#reply + 1] = valid[receipt] and 1 or 0
    if valid[receipt] then
      held[#held + 1] = ends
      held[#held + 1] = receipt
    end
  end
  if #held > 0 then
    call('ZADD', base .. ':in_flight', unpack(held))
    wake_past(base, ends)
  end
end
return reply
