-- Let terminal records expire earlier.
-- ARGV: seconds from now. Records that expire before that are not changed.
local retention = tonumber(ARGV[1])
local ends = math.min(clock() + retention, END_OF_TIME_MS / 1000)
for _, key in ipairs(TASKS) do
  local head = call('GETRANGE', key, 0, HEAD_BYTES - 1)
  if head ~= '' then
    local flags, state, attempt, starts, lease, expires = struct.unpack(HEAD, head)
    if state >= SUCCESS and (not has(flags, HAS_EXPIRES) or expires > ends) then
      if retention <= 0 then
        drop(key)
        if has(flags, IS_INDEXED) then
          remove_from_index(key)
        end
      else
        if has(flags, IS_INDEXED) then
          keep_in_index_until(key, ends)
        end
        flags = has(flags, HAS_EXPIRES) and flags or flags + HAS_EXPIRES
        call('SETRANGE', key, 0, struct.pack(HEAD, flags, state, attempt, starts, lease, ends))
        call('PEXPIREAT', key, milliseconds(ends))
        call('PEXPIREAT', key .. ':group', milliseconds(ends))
      end
    end
  end
end
return 1
