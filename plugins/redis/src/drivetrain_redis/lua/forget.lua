-- Drop records, and the groups of the same ids.
for _, key in ipairs(TASKS) do
  drop(key)
  wake(key)
end
return 1
