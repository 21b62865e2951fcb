-- Take a lock. ARGV: for how many milliseconds. Reply: the token, or nothing while somebody holds it.
--
-- A token is larger than any before: than the last one, which is remembered for a day beyond its lock, and, when that is
-- forgotten or was lost in a failover, than the microseconds of the clock were.
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
