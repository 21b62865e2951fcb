-- Hold a lock for longer.
-- ARGV: the token; milliseconds from now. Reply: whether the token holds it.
local key, token, span = KEYS[1], ARGV[1], tonumber(ARGV[2])
if redis.call('GET', key) ~= token then
  return 0
end
redis.call('SET', key .. ':last', token, 'PX', span + 86400000)
if span > 0 then
  redis.call('PEXPIRE', key, span)
else
  redis.call('DEL', key)
end
return 1
