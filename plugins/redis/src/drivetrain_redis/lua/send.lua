-- Record tasks, and publish the messages of those whose transition is applied.
-- KEYS: the tasks, one for each transition, then the bases of queues. ARGV: the transitions; '1' if PUBLISH counts
-- all listeners, and 'f' after it if any message may have a fair key; for each queue: how many, and the packed
-- messages, in the order of the transitions.
-- Reply: for each whether its transition was applied.
local reply, count = {}, 0
while at <= #ARGV[1] do
  count = count + 1
  reply[count] = enter(KEYS[count])
end

local argument = separate + 1
local counts_listeners, has_fair, now, done = byte(ARGV[argument]) == 49, #ARGV[argument] == 2, clock(), 0
for index = count + 1, #KEYS do
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
    add(KEYS[index], messages, now, counts_listeners, has_fair)
  end
end
return reply
