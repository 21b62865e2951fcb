-- Drop records, and the groups of the same ids.
for _, key in ipairs(TASKS) do
  local flags = byte(call('GETRANGE', key, 0, 0))
  if flags and has(flags, IS_INDEXED) then
    remove_from_index(key)
  end
  drop(key)
  notify_waiters(key)
end
return 1
