-- Record an unknown task, and publish its message, which is ready at once: the most common case of one send.
-- KEYS: the task, the base of the queue. ARGV: the record; whether PUBLISH counts all listeners; the level; the packed
-- message.
-- Reply: 1; or 0 if the task is known, and then nothing was done.
local base, counts_listeners, level, message = KEYS[2], ARGV[2] == '1', ARGV[3], ARGV[4]

-- Larger messages are not handed over: unread notifications count against a limit of the server.
local LARGEST_NOTIFICATION_BYTES = 65536

local function none_is_ready()
  local ready = base .. ':ready:'
  return call('EXISTS', ready .. 9, ready .. 8, ready .. 7, ready .. 6, ready .. 5, ready .. 4, ready .. 3, ready .. 2,
    ready .. 1, ready .. 0, base .. ':fair') == 0
end

-- Hand the message over to a waiter, as if it had called at this moment; false if the waiter is gone.
local function hand(token, waiting, now)
  local channel, number, hold = string.match(waiting, '^(%S+) (%d+) (%d+)$')
  if not channel or not counts_listeners or #message > LARGEST_NOTIFICATION_BYTES or not none_is_ready() then
    return false
  end
  local receipt = token .. ':1'
  if call('PUBLISH', channel, number .. ' ' .. receipt .. ' ' .. message) == 0 then
    return false
  end
  call('ZREM', base .. ':waiting', waiting)
  local ends = now + hold
  call('ZADD', base .. ':in_flight', ends, receipt)
  call('SET', base .. ':given ' .. waiting, receipt, 'PX', math.ceil(hold / 1000))
  wake_past(base, ends)
  return true
end

if not call('SET', KEYS[1], ARGV[1], 'NX') then
  return 0
end
local token = level .. numbers(base, 1)
call('HSET', base .. ':messages', token, message)
local last = call('ZRANGE', base .. ':waiting', -1, -1, 'WITHSCORES')
local now = last[1] and clock()
if now and tonumber(last[2]) > now and hand(token, last[1], now) then
  return 1
end
call('RPUSH', base .. ':ready:' .. level, token)
if now then
  wake(base, 1, now, counts_listeners)
end
return 1
