-- Give messages back. ARGV: whether PUBLISH tells who listens; after how long; for each queue how many, and their
-- receipts.
local tells, delay = ARGV[1] == '1', tonumber(ARGV[2])
local now = clock()
local at = 3
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local tokens, times = reclaim(base, {unpack(ARGV, at + 1, at + count)})
  at = at + count + 1
  for place = #tokens, 1, -1 do  -- from the last to the first, for each goes before those that are there
    local entry = tokens[place] .. ':' .. times[place]
    if delay > 0 then
      call('ZADD', base .. ':delayed', now + delay, entry)
    else
      call('LPUSH', list_of(base, entry), entry)
    end
  end
  if #tokens > 0 and delay > 0 then
    ring_past(base, now + delay)
  elseif #tokens > 0 then
    ring(base, #tokens, now, tells)
  end
end
return 1
