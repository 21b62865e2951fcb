-- Count the messages in each section of queues: ready, delayed, held, dead. And tell the age of the oldest ready message
-- in microseconds.
local now = clock()

-- How many entries of a list, or ended holds, are searched for the oldest message, and how many messages are read of them.
local MOST_SEARCHED, MOST_READ = 1000, 4

-- Since when a message is ready; infinity where an earlier version has published it, which kept no time.
-- `pack_message` in codec.py describes the head.
local function ready_since(message)
  local kind = message and byte(message, 1) or 0
  if kind < 2 then
    return math.huge
  end
  return struct.unpack('>d', message, kind < 6 and 7 or 15) * 1000000
end

-- The number in a token grows with the time when the message was published or replayed.
local function number_of(token)
  return tonumber(string.match(token, '%d+', 2))
end

-- The tokens among which the oldest ready message is. A list has messages that came back first, in any order, and then
-- those that were never handed out, in the order in which they became ready.
local function candidates(base)
  local found, returned = {}, {}
  for level = 0, TOP do
    for _, entry in ipairs(call('LRANGE', base .. ':ready:' .. level, 0, MOST_SEARCHED - 1)) do
      local token, times = split(entry)
      if not times then
        insert(found, token)
        break
      end
      insert(returned, token)
    end
  end
  for _, receipt in ipairs(call('ZRANGEBYSCORE', base .. ':in_flight', '-inf', now, 'LIMIT', 0, MOST_SEARCHED)) do
    insert(returned, (split(receipt)))
  end
  for level = 0, TOP do
    local first, stop = rounds_of(level)
    local head = call('ZRANGEBYSCORE', base .. ':fair', first, stop, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if head then
      -- The first message of each line is in the current round or in the next one.
      local last = tonumber(head) + 1
      for _, entry in ipairs(call('ZRANGEBYSCORE', base .. ':fair', head, last, 'LIMIT', 0, MOST_SEARCHED)) do
        insert(returned, (split(entry)))
      end
    end
  end
  table.sort(returned, function(one, other)
    return number_of(one) < number_of(other)
  end)
  for index = 1, math.min(#returned, MOST_READ) do
    insert(found, returned[index])
  end
  return found
end

local function age(base)
  local oldest = math.huge
  local first = call('ZRANGE', base .. ':delayed', 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) <= now then
    oldest = tonumber(first[2])
  end
  local tokens = candidates(base)
  if #tokens > 0 then
    for _, message in ipairs(call('HMGET', base .. ':messages', unpack(tokens))) do
      oldest = math.min(oldest, ready_since(message))
    end
  end
  return oldest < now and now - oldest or 0
end

local reply = {}
for _, base in ipairs(BASES) do
  local ready = call('ZCARD', base .. ':fair')
  for level = 0, TOP do
    ready = ready + call('LLEN', base .. ':ready:' .. level)
  end
  local due = call('ZCOUNT', base .. ':delayed', '-inf', now)
  local over = call('ZCOUNT', base .. ':in_flight', '-inf', now)
  ready = ready + due + over
  reply[#reply + 1] = {
    ready,
    call('ZCARD', base .. ':delayed') - due,
    call('ZCARD', base .. ':in_flight') - over,
    call('ZCARD', base .. ':dead'),
    ready > 0 and math.floor(age(base)) or 0,
  }
end
return reply
