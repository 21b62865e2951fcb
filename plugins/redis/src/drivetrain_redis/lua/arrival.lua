-- What it takes to put a message into a queue; apart from the rest, for a script that is short is fast.
-- Which keys there are is told in queue.lua.
local call, insert, sub, find, byte = redis.call, table.insert, string.sub, string.find, string.byte

-- After this time a number may be given once more: none is, for numbers are never behind the clock.
local SEQUENCE_MS = 86400000

local function clock()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The first of so many new numbers. Ten thousand in a second keep step with the clock, so that the key need not be
-- kept for ever; fourteen digits are what Lua writes without an exponent.
local function numbers(base, count, now)
  local key = base .. ':sequence'
  local first = math.max((tonumber(call('GET', key)) or 0) + 1, math.floor(now / 100))
  call('SET', key, first + count - 1, 'PX', SEQUENCE_MS)
  return first
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
      if call('PUBLISH', found[place], '') > 0 or not tells then
        count = count - 1
      end
    end
  end
end
