-- Publish messages.
-- ARGV: whether PUBLISH tells who listens; for each queue: how many, and the packed messages.
local tells, now, at = ARGV[1] == '1', clock(), 2
for _, base in ipairs(BASES) do
  local messages = {}
  for place = 1, tonumber(ARGV[at]) do
    messages[place] = ARGV[at + place]
  end
  at = at + 1 + #messages
  add(base, messages, now, tells)
end
return 1
