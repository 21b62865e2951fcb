-- Drop records, and the groups of the same ids.
for _, key in ipairs(TASKS) do
  drop(key)
  notify_waiters(key)
end
return 1
