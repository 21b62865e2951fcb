-- Functions that put a message into a queue. In a file of their own, because a short script is fast.
-- queue.lua describes the keys.
local call, insert, sub, find, byte = redis.call, table.insert, string.sub, string.find, string.byte

-- After this time the last number is forgotten. A new key starts from the clock, which is ahead of all earlier numbers
-- unless there were more than ten thousand in each second.
local SEQUENCE_MS = 86400000

local function clock()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The first of `count` new numbers. They have fourteen digits: Lua writes longer ones with an exponent.
local function numbers(base, count)
  local key = base .. ':sequence'
  local last = call('INCRBY', key, count)
  if last == count then
    last = math.floor(clock() / 100) + count
    call('SET', key, last, 'PX', SEQUENCE_MS)
  elseif math.floor(last / 1000) > math.floor((last - count) / 1000) then
    call('PEXPIRE', key, SEQUENCE_MS)  -- rarely, which is enough
  end
  return last - count + 1
end

-- Wake `count` waiters. One that is gone does not count, where PUBLISH counts all listeners.
local function wake(base, count, now, counts_listeners)
  local key = base .. ':waiting'
  while count > 0 do
    local found = call('ZPOPMAX', key, count)
    if #found == 0 then
      return
    end
    for index = 1, #found, 2 do
      if tonumber(found[index + 1]) <= now then
        call('DEL', key)  -- this one and all others have stopped sleeping by themselves
        return
      end
      if call('PUBLISH', string.match(found[index], '^%S+'), '') > 0 or not counts_listeners then
        count = count - 1
      end
    end
  end
end

-- Wake the waiters that would sleep past a time at which a message becomes ready by itself.
local function wake_past(base, time)
  local key = base .. ':waiting'
  local found = call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', time), '+inf')
  for _, member in ipairs(found) do
    call('ZREM', key, member)
    call('PUBLISH', string.match(member, '^%S+'), '')
  end
end
