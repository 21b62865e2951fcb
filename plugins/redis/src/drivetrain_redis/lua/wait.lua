-- Which of some tasks are terminal or gone; if none is, let us be told of the first that will be.
-- ARGV: our channel, the number of this wait, and whether it is for many; empty not to be told. Reply: the places of
-- those tasks.
local token = ARGV[1]
local heads, ended = {}, {}
for place, key in ipairs(TASKS) do
  local head = call('GETRANGE', key, 0, 1)
  heads[place] = head
  if head == '' or byte(head, 2) >= SUCCESS then
    insert(ended, place - 1)
  end
end
if #ended > 0 or token == '' then
  return ended
end
for place, key in ipairs(TASKS) do
  call('SADD', key .. ':waiting', token)
  call('PEXPIRE', key .. ':waiting', WAITING_MS)
  local flags = byte(heads[place], 1)
  if not has(flags, HAS_WAITERS) then
    call('SETRANGE', key, 0, string.char(flags + HAS_WAITERS))
  end
end
return ended
