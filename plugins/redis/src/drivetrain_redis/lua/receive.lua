-- Hand out messages of queues, in their order; or say how long until there may be some, and wake us before.
-- ARGV: at most how many; how long they are held; how long we would sleep; what we leave in :waiting, empty if we do not
-- sleep; what an earlier call has left there, empty if none has; the receipt that we were then handed unasked, or empty.
-- Reply: how long to sleep at most; then for each queue the receipts and the messages.
local limit, hold, pause, waiter = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local left_before, handed = ARGV[5], ARGV[6]
local now = clock()
local reply = {0}

local function pop(base, count)
  local ready = base .. ':ready:'
  local taken = {}
  if call('EXISTS', ready .. 9, ready .. 8, ready .. 7, ready .. 6, ready .. 5, ready .. 4, ready .. 3, ready .. 2,
    ready .. 1) > 0 then
    for level = TOP, 1, -1 do
      if #taken < count then
        for _, token in ipairs(call('LPOP', ready .. level, count - #taken) or {}) do
          taken[#taken + 1] = token
        end
      end
    end
    if #taken == count then
      return taken
    end
  end
  local rest = call('LPOP', ready .. 0, count - #taken)
  if not rest then
    return taken
  end
  if #taken == 0 then
    return rest
  end
  for _, token in ipairs(rest) do
    taken[#taken + 1] = token
  end
  return taken
end

local function hold_all(base, taken)
  local ends = now + hold
  local tokens, counts, lapsed = {}, {}, {}
  for place, entry in ipairs(taken) do
    local token, times = split(entry)
    tokens[place] = token
    counts[place] = 1
    if times then
      counts[place] = times + 1
      lapsed[#lapsed + 1] = token
    end
  end
  if #lapsed > 0 then
    call('HDEL', base .. ':lapsed', unpack(lapsed))
  end
  local found = call('HMGET', base .. ':messages', unpack(tokens))
  local receipts, messages, held = {}, {}, {}
  for place, message in ipairs(found) do
    if message then
      local receipt = tokens[place] .. ':' .. counts[place]
      receipts[#receipts + 1] = receipt
      messages[#messages + 1] = message
      held[#held + 1] = ends
      held[#held + 1] = receipt
    end
  end
  if #held > 0 then
    call('ZADD', base .. ':held', unpack(held))
    ring_past(base, ends)
  end
  return receipts, messages
end

-- What we were handed unasked and have not heard of, as our wait was over: it is held for us.
local function unheard(base)
  local receipt = call('GETDEL', base .. ':given ' .. left_before)
  if not receipt or receipt == handed or not call('ZSCORE', base .. ':held', receipt) then
    return nil
  end
  return {receipt}, {call('HGET', base .. ':messages', (split(receipt)))}
end

local left = limit
for place, base in ipairs(BASES) do
  local receipts, messages
  if left_before ~= '' then
    call('ZREM', base .. ':waiting', left_before)
    if find(left_before, ' ', 1, true) then
      receipts, messages = unheard(base)
    end
  end
  reply[2 * place], reply[2 * place + 1] = receipts or {}, messages or {}
  left = left - #reply[2 * place]
  if left > 0 and not receipts then
    ripen(base, now, math.max(100, 2 * left))
    local taken = pop(base, left)
    if #taken > 0 then
      reply[2 * place], reply[2 * place + 1] = hold_all(base, taken)
      left = left - #reply[2 * place]
    end
  end
end
if left < limit or pause <= 0 then
  return reply
end

local till = now + pause
for _, base in ipairs(BASES) do
  for _, kind in ipairs({':delayed', ':held'}) do
    local first = call('ZRANGE', base .. kind, 0, 0, 'WITHSCORES')
    if first[2] then
      till = math.min(till, tonumber(first[2]))
    end
  end
end
for _, base in ipairs(BASES) do
  call('ZADD', base .. ':waiting', till, waiter)
  call('PEXPIRE', base .. ':waiting', WAITING_MS)
end
reply[1] = math.max(0, till - now)
return reply
