-- Acknowledge messages.
-- ARGV: for each queue: how many receipts, and the receipts.
local at = 1
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local tokens = reclaim(base, {unpack(ARGV, at + 1, at + count)})
  at = at + count + 1
  if #tokens > 0 then
    call('HDEL', base .. ':messages', unpack(tokens))
  end
end
return 1
