-- Read messages of a queue.
-- ARGV: the section; how many to skip; how many to read at most.
-- Reply: the messages; for dead letters also the times of death and the notes.
local base, section, from, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()

local function ready()
  -- Messages that are due or no longer held count as ready, and so they are made ready.
  make_ready(base, now, limit)
  local found = {}
  if call('EXISTS', base .. ':fair') == 1 then
    return {unpack(in_turn(base, from + limit, false), from + 1)}
  end
  for level = TOP, 0, -1 do
    local key = base .. ':ready:' .. level
    local length = call('LLEN', key)
    if from >= length then
      from = from - length
    elseif #found < limit then
      for _, entry in ipairs(call('LRANGE', key, from, from + limit - #found - 1)) do
        found[#found + 1] = entry
      end
      from = 0
    end
  end
  return found
end

local found, times
if section == 'ready' then
  found = ready()
elseif section == 'delayed' then
  found = call('ZRANGEBYSCORE', base .. ':delayed', '(' .. string.format('%.0f', now), '+inf', 'LIMIT', from, limit)
else
  found, times = {}, {}
  local scored = call('ZRANGE', base .. ':dead', from, from + limit - 1, 'WITHSCORES')
  for at = 1, #scored, 2 do
    insert(found, scored[at])
    insert(times, scored[at + 1])
  end
end
if #found == 0 then
  return {{}, {}, {}}
end
local tokens = {}
for at, entry in ipairs(found) do
  tokens[at] = split(entry)
end
local messages = call('HMGET', base .. ':messages', unpack(tokens))
return {messages, times or {}, times and call('HMGET', base .. ':reasons', unpack(tokens)) or {}}
