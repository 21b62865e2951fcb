-- Dead-letter messages.
-- ARGV: for each queue: how many, and for each message: its receipt, and a note. The note is the
-- length of the id, the id, and the reason.
local now = clock()
local at = 1
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local receipts, notes = {}, {}
  for index = 1, count do
    receipts[index] = ARGV[at + 2 * index - 1]
    notes[receipts[index]] = ARGV[at + 2 * index]
  end
  at = at + 2 * count + 1
  local tokens, times = reclaim(base, receipts)
  local last = call('ZRANGE', base .. ':dead', -1, -1, 'WITHSCORES')
  local died = math.max(now, last[2] and tonumber(last[2]) + 1 or 0)
  for index, token in ipairs(tokens) do
    call('ZADD', base .. ':dead', died + index - 1, token)  -- different times keep the order
    call('HSET', base .. ':reasons', token, notes[token .. ':' .. times[index]])
  end
end
return 1
