-- Publish messages.
-- ARGV: whether PUBLISH counts all listeners; for each queue: how many, and the packed messages.
local counts_listeners, now, at = ARGV[1] == '1', clock(), 2
for _, base in ipairs(BASES) do
  local messages = {}
  for index = 1, tonumber(ARGV[at]) do
    messages[index] = ARGV[at + index]
  end
  at = at + 1 + #messages
  add(base, messages, now, counts_listeners)
end
return 1
