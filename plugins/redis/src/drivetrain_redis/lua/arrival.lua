-- What it takes to put a message into a queue; apart from the rest, for a script that is short is fast.
-- Which keys there are is told in queue.lua.
local call, insert, sub, find, byte = redis.call, table.insert, string.sub, string.find, string.byte

-- After this time a number may be given once more: none is, for a new key begins with the clock, which is ahead of all
-- numbers that were given by then, unless that were more than ten thousand in every second.
local SEQUENCE_MS = 86400000

local function clock()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The first of so many new numbers. They have fourteen digits, which is what Lua writes without an exponent.
local function numbers(base, count)
  local key = base .. ':sequence'
  local last = call('INCRBY', key, count)
  if last == count then
    last = math.floor(clock() / 100) + count
    call('SET', key, last, 'PX', SEQUENCE_MS)
  elseif math.floor(last / 1000) > math.floor((last - count) / 1000) then
    call('PEXPIRE', key, SEQUENCE_MS)  -- now and then is enough
  end
  return last - count + 1
end

-- Wake so many of those who sleep. Whoever is gone is passed over, where the server can tell.
local function ring(base, count, now, tells)
  local key = base .. ':waiting'
  while count > 0 do
    local found = call('ZPOPMAX', key, count)
    if #found == 0 then
      return
    end
    for place = 1, #found, 2 do
      if tonumber(found[place + 1]) <= now then
        call('DEL', key)  -- all that are left had woken by themselves before this one did
        return
      end
      if call('PUBLISH', string.match(found[place], '^%S+'), '') > 0 or not tells then
        count = count - 1
      end
    end
  end
end

-- Wake those who would sleep past a time at which something becomes ready by itself.
local function ring_past(base, time)
  local key = base .. ':waiting'
  local found = call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', time), '+inf')
  for _, member in ipairs(found) do
    call('ZREM', key, member)
    call('PUBLISH', string.match(member, '^%S+'), '')
  end
end
