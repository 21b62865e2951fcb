-- Put messages aside. ARGV: for each queue how many, and for each its receipt and what is kept beside it: the length of
-- its id, its id, and the reason.
local now = clock()
local at = 1
for _, base in ipairs(BASES) do
  local count = tonumber(ARGV[at])
  local receipts, notes = {}, {}
  for place = 1, count do
    receipts[place] = ARGV[at + 2 * place - 1]
    notes[receipts[place]] = ARGV[at + 2 * place]
  end
  at = at + 2 * count + 1
  local tokens, times = reclaim(base, receipts)
  local last = call('ZRANGE', base .. ':dead', -1, -1, 'WITHSCORES')
  local died = math.max(now, last[2] and tonumber(last[2]) + 1 or 0)
  for place, token in ipairs(tokens) do
    call('ZADD', base .. ':dead', died + place - 1, token)  -- each later than the one before, so that they keep order
    call('HSET', base .. ':reasons', token, notes[token .. ':' .. times[place]])
  end
end
return 1
