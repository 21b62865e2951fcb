-- Record a task that is not known yet, and publish its message, which is ready at once: most of what is ever sent alone.
-- KEYS: of the task, the base of the queue. ARGV: the record; whether PUBLISH tells who listens; the level; the packed
-- message. Reply: 1; or 0 if the task is known, and then nothing was done.
if not call('SET', KEYS[1], ARGV[1], 'NX') then
  return 0
end
local base, level, now = KEYS[2], ARGV[3], clock()
local token = level .. numbers(base, 1, now)
call('HSET', base .. ':messages', token, ARGV[4])
call('RPUSH', base .. ':ready:' .. level, token)
ring(base, 1, now, ARGV[2] == '1')
return 1
