-- Count the messages in each section of queues: ready, delayed, held, dead.
local now = clock()
local reply = {}
for _, base in ipairs(BASES) do
  local ready = 0
  for level = 0, TOP do
    ready = ready + call('LLEN', base .. ':ready:' .. level)
  end
  local due = call('ZCOUNT', base .. ':delayed', '-inf', now)
  local over = call('ZCOUNT', base .. ':in_flight', '-inf', now)
  reply[#reply + 1] = {
    ready + due + over,
    call('ZCARD', base .. ':delayed') - due,
    call('ZCARD', base .. ':in_flight') - over,
    call('ZCARD', base .. ':dead'),
  }
end
return reply
