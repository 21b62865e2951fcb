-- Record tasks, and publish the messages of those whose transition is granted.
-- KEYS: of the tasks, one for each transition, then the bases of queues. ARGV: the transitions; whether PUBLISH tells who
-- listens; for each queue: how many, and the packed messages, in the order of the transitions. Reply: what was granted.
local reply, count = {}, 0
while at <= #ARGV[1] do
  count = count + 1
  reply[count] = enter(KEYS[count])
end

local argument = apart + 1
local tells, now, done = ARGV[argument] == '1', clock(), 0
for place = count + 1, #KEYS do
  argument = argument + 1
  local messages, number = {}, tonumber(ARGV[argument])
  for one = 1, number do
    if reply[done + one] == 1 then
      insert(messages, ARGV[argument + one])
    end
  end
  argument = argument + number
  done = done + number
  if #messages > 0 then
    add(KEYS[place], messages, now, tells)
  end
end
return reply
