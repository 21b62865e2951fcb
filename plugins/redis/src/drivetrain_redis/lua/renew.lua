-- Renew leases.
-- ARGV: for each task: its run and the length of the lease.
-- Reply: for each whether it is held, and the state, -1 if unknown.
local now = clock()
local reply = {}
for index, key in ipairs(TASKS) do
  local record = call('GET', key)
  local held, state = 0, -1
  if record then
    local flags, found, attempt, starts, _, _, length, _, _, _, at = struct.unpack(FORMAT, record)
    state = found
    if state == STARTED and has(flags, HAS_RUN) and sub(record, at, at + length - 1) == ARGV[2 * index - 1] then
      held = 1
      flags = has(flags, HAS_LEASE) and flags or flags + HAS_LEASE
      local head = struct.pack('>BBI4I4d', flags, state, attempt, starts, now + tonumber(ARGV[2 * index]))
      call('SETRANGE', key, 0, head)
    end
  end
  insert(reply, held)
  insert(reply, state)
end
return reply
