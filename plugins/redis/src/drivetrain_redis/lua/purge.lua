-- Drop messages of one section of a queue.
-- ARGV: the section; how many at most. Reply: how many were dropped.
local base, section, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = clock()
local tokens = {}

local function drop_ready()
  make_ready(base, now, limit)
  for level = TOP, 0, -1 do
    if #tokens < limit then
      for _, entry in ipairs(call('LPOP', base .. ':ready:' .. level, limit - #tokens) or {}) do
        tokens[#tokens + 1] = split(entry)
      end
    end
  end
  if #tokens < limit then
    local lined = call('ZPOPMIN', base .. ':fair', limit - #tokens)
    for at = 1, #lined, 2 do
      tokens[#tokens + 1] = split(lined[at])
    end
    if call('EXISTS', base .. ':fair') == 0 then
      call('DEL', base .. ':rounds')
    end
  end
  if #tokens > 0 then
    call('HDEL', base .. ':lapsed', unpack(tokens))
  end
end

local function drop_delayed()
  local found = call('ZRANGEBYSCORE', base .. ':delayed', '(' .. string.format('%.0f', now), '+inf', 'LIMIT', 0, limit)
  for at, entry in ipairs(found) do
    tokens[at] = split(entry)
  end
  if #found > 0 then
    call('ZREM', base .. ':delayed', unpack(found))
  end
end

local function drop_dead()
  tokens = call('ZRANGE', base .. ':dead', 0, limit - 1)
  if #tokens > 0 then
    call('ZREM', base .. ':dead', unpack(tokens))
    call('HDEL', base .. ':reasons', unpack(tokens))
  end
end

if section == 'ready' then
  drop_ready()
elseif section == 'delayed' then
  drop_delayed()
else
  drop_dead()
end
if #tokens > 0 then
  call('HDEL', base .. ':messages', unpack(tokens))
end
return #tokens
