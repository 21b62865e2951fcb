-- Acquire a lock.
-- ARGV: milliseconds. Reply: the token, or nothing while another one holds it.
--
-- A token is larger than any before. It is larger than the last one, which is kept for a day longer than its lock. If
-- that one is gone, or was lost in a failover, the token is the microseconds of the clock.
local key, span = KEYS[1], tonumber(ARGV[1])
if redis.call('EXISTS', key) == 1 then
  return false
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', key .. ':last')) or 0
local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', key .. ':last', token, 'PX', span + 86400000)
if span > 0 then
  redis.call('SET', key, token, 'PX', span)
end
return token
