-- Release messages.
-- ARGV: whether PUBLISH counts all listeners; the delay; for each queue: how many receipts, and the receipts.
local counts_listeners, delay = ARGV[1] == '1', tonumber(ARGV[2])
local now = clock()
local at = 3
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local tokens, times = reclaim(base, {unpack(ARGV, at + 1, at + count)})
  at = at + count + 1
  for index = #tokens, 1, -1 do  -- backwards, because each goes to the head of the list
    local entry = tokens[index] .. ':' .. times[index]
    if delay > 0 then
      call('ZADD', base .. ':delayed', now + delay, entry)
    else
      call('LPUSH', list_of(base, entry), entry)
    end
  end
  if #tokens > 0 and delay > 0 then
    wake_past(base, now + delay)
  elseif #tokens > 0 then
    wake(base, #tokens, now, counts_listeners)
  end
end
return 1
