-- Record a task that is not known yet, and publish its message, which is ready at once: most of what is ever sent alone.
-- KEYS: of the task, the base of the queue. ARGV: the record; whether PUBLISH tells who listens; the level; the packed
-- message. Reply: 1; or 0 if the task is known, and then nothing was done.
local base, tells, level, message = KEYS[2], ARGV[2] == '1', ARGV[3], ARGV[4]

-- Larger ones are asked for: what a subscriber has not read yet counts against a limit of the server.
local LARGEST_UNASKED_BYTES = 65536

local function none_is_ready()
  local ready = base .. ':ready:'
  return call('EXISTS', ready .. 9, ready .. 8, ready .. 7, ready .. 6, ready .. 5, ready .. 4, ready .. 3, ready .. 2,
    ready .. 1, ready .. 0) == 0
end

-- Hand the message to one who sleeps, as if it had asked at this moment; whether it is there to take it.
local function hand(token, waiting, now)
  local channel, number, hold = string.match(waiting, '^(%S+) (%d+) (%d+)$')
  if not channel or not tells or #message > LARGEST_UNASKED_BYTES or not none_is_ready() then
    return false
  end
  local receipt = token .. ':1'
  if call('PUBLISH', channel, number .. ' ' .. receipt .. ' ' .. message) == 0 then
    return false
  end
  call('ZREM', base .. ':waiting', waiting)
  local ends = now + hold
  call('ZADD', base .. ':held', ends, receipt)
  call('SET', base .. ':given ' .. waiting, receipt, 'PX', math.ceil(hold / 1000))
  ring_past(base, ends)
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
  ring(base, 1, now, tells)
end
return 1
