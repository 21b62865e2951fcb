-- Apply transitions to records.
-- KEYS: the tasks, one for each transition, then groups. ARGV: the transitions.
-- Reply: for each: whether it was applied, the record before, the progress of the group.
local reply, count = {}, 0
while at <= #ARGV[1] do
  local granted, before, progress = enter(KEYS[count / 3 + 1])
  reply[count + 1], reply[count + 2], reply[count + 3] = granted, before, progress
  count = count + 3
end
return reply
