-- Publish messages.
-- ARGV: '1' if PUBLISH counts all listeners, and 'f' after it if any message may have a fair key; for each queue: how
-- many, and the packed messages.
local counts_listeners, has_fair, now, at = byte(ARGV[1]) == 49, #ARGV[1] == 2, clock(), 2
for _, base in ipairs(BASES) do
  local messages = {}
  for index = 1, tonumber(ARGV[at]) do
    messages[index] = ARGV[at + index]
  end
  at = at + 1 + #messages
  add(base, messages, now, counts_listeners, has_fair)
end
return 1
