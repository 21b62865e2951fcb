-- Hand out ready messages of queues, in their order. If there are none: register the caller, to be woken.
-- ARGV: how many at most; the length of the hold; how long the caller would sleep; what to register in :waiting, empty
-- if the caller does not sleep; what an earlier call has registered, empty if nothing; the receipt of the message that
-- was handed over to it and read, or empty.
-- Reply: how long to sleep at most; then for each queue the receipts and the messages.
local limit, hold, pause, entry_here = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local registered, heard = ARGV[5], ARGV[6]
local now = clock()
local reply = {0}

local function pop(base, count)
  if call('EXISTS', base .. ':fair') == 1 then
    return in_turn(base, count, true)
  end
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
  for index, entry in ipairs(taken) do
    local token, times = split(entry)
    tokens[index] = token
    counts[index] = 1
    if times then
      counts[index] = times + 1
      lapsed[#lapsed + 1] = token
    end
  end
  if #lapsed > 0 then
    call('HDEL', base .. ':lapsed', unpack(lapsed))
  end
  local found = call('HMGET', base .. ':messages', unpack(tokens))
  local receipts, messages, held = {}, {}, {}
  for index, message in ipairs(found) do
    if message then
      local receipt = tokens[index] .. ':' .. counts[index]
      receipts[#receipts + 1] = receipt
      messages[#messages + 1] = message
      held[#held + 1] = ends
      held[#held + 1] = receipt
    end
  end
  if #held > 0 then
    call('ZADD', base .. ':in_flight', unpack(held))
    wake_past(base, ends)
  end
  return receipts, messages
end

-- The message that was handed over when the wait was already over, so that the caller has not read it.
local function handed_over(base)
  local receipt = call('GETDEL', base .. ':given ' .. registered)
  if not receipt or receipt == heard or not call('ZSCORE', base .. ':in_flight', receipt) then
    return nil
  end
  return {receipt}, {call('HGET', base .. ':messages', (split(receipt)))}
end

local room = limit
for index, base in ipairs(BASES) do
  local receipts, messages
  if registered ~= '' then
    call('ZREM', base .. ':waiting', registered)
    if find(registered, ' ', 1, true) then
      receipts, messages = handed_over(base)
    end
  end
  reply[2 * index], reply[2 * index + 1] = receipts or {}, messages or {}
  room = room - #reply[2 * index]
  if room > 0 and not receipts then
    make_ready(base, now, math.max(100, 2 * room))
    local taken = pop(base, room)
    if #taken > 0 then
      reply[2 * index], reply[2 * index + 1] = hold_all(base, taken)
      room = room - #reply[2 * index]
    end
  end
end
if room < limit or pause <= 0 then
  return reply
end

local till = now + pause
for _, base in ipairs(BASES) do
  for _, kind in ipairs({':delayed', ':in_flight'}) do
    local first = call('ZRANGE', base .. kind, 0, 0, 'WITHSCORES')
    if first[2] then
      till = math.min(till, tonumber(first[2]))
    end
  end
end
for _, base in ipairs(BASES) do
  call('ZADD', base .. ':waiting', till, entry_here)
  call('PEXPIRE', base .. ':waiting', WAITING_MS)
end
reply[1] = math.max(0, till - now)
return reply
