-- Find the tasks that are terminal or gone. If there are none: register the caller, to be notified of the first one.
-- ARGV: what to register: the channel, the number of the wait, and whether it is for many tasks; empty for nothing.
-- Reply: the indexes of those tasks, from 0.
local token = ARGV[1]
local heads, ended = {}, {}
for index, key in ipairs(TASKS) do
  local head = call('GETRANGE', key, 0, 1)
  heads[index] = head
  if head == '' or byte(head, 2) >= SUCCESS then
    insert(ended, index - 1)
  end
end
if #ended > 0 or token == '' then
  return ended
end
for index, key in ipairs(TASKS) do
  call('SADD', key .. ':waiting', token)
  call('PEXPIRE', key .. ':waiting', WAITING_MS)
  local flags = byte(heads[index], 1)
  if not has(flags, HAS_WAITERS) then
    call('SETRANGE', key, 0, string.char(flags + HAS_WAITERS))
  end
end
return ended
