-- Fair keys: the lines of a queue take turns, in rounds. After arrival.lua. The keys, next to those in queue.lua:
--   :fair    zset by round: the tokens of ready messages with a fair key
--   :rounds  zset: the last round of each line that has a message in the current round or a later one
--
-- A line is a level, ':', and a fair key. The messages in the list of a level are one more line, which is named by the
-- level alone. A line has at most one message in a round. Each level has rounds of its own; higher levels have lower
-- numbers, so that one zset has them all. The first round in :fair is the current one of its level.
local FAIR_HEADER = 'drivetrain-fair-key'
local ROUNDS = 2 ^ 48  -- of a level; a double tells the rounds of all levels apart

-- The first round of a level, and the end of its rounds, as bounds for a range.
local function rounds_of(level)
  local first = (9 - level) * ROUNDS
  return first, string.format('(%.0f', first + ROUNDS)
end

-- Whether the message of a token has a fair key: 'f', or 'g' if it was replayed, follows the level.
local function is_fair(token)
  local mark = byte(token, 2)
  return mark == 102 or mark == 103
end

-- The fair key of a message, or nil. `pack_message` in codec.py describes the format.
local function fair_key(message)
  local kind, length = byte(message, 1), struct.unpack('>I4', message, 3)
  local start = kind < 6 and 15 or 23
  local text = sub(message, start, start + length - 1)
  if kind % 2 == 1 then
    local readable, parts = pcall(cjson.decode, text)
    return readable and parts[2][FAIR_HEADER] or find(text, FAIR_HEADER, 1, true) and '' or nil
  end
  local _, last = find(text, '\0' .. FAIR_HEADER .. '\0', 1, true)
  if not last then
    return nil
  end
  return sub(text, last + 1, (find(text, '\0', last + 1, true) or 0) - 1)
end

-- The current round of a level. Lines that would join it anyway are forgotten.
local function current_round(base, level)
  local first, stop = rounds_of(level)
  local head = call('ZRANGEBYSCORE', base .. ':fair', first, stop, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local current = tonumber(head or first)
  call('ZREMRANGEBYSCORE', base .. ':rounds', first, head and string.format('(%.0f', current) or stop)
  return current
end

-- Put ready messages into their lines: the entries, which are tokens that ':' and a number may follow.
local function enter_lines(base, entries, messages)
  local current, lasts, added, changed = {}, {}, {}, {}
  for index, entry in ipairs(entries) do
    local level = sub(entry, 1, 1)
    local line = level .. ':' .. (fair_key(messages[index]) or '')
    current[level] = current[level] or current_round(base, level)
    local last = lasts[line] or tonumber(call('ZSCORE', base .. ':rounds', line) or -1)
    lasts[line] = math.max(current[level], last + 1)
    insert(added, lasts[line])
    insert(added, entry)
  end
  for line, last in pairs(lasts) do
    insert(changed, last)
    insert(changed, line)
  end
  call('ZADD', base .. ':fair', unpack(added))
  call('ZADD', base .. ':rounds', unpack(changed))
end

-- Messages of one level in the order of delivery. Those in the list that came back keep their turn, so they come first.
-- Reply: how many of the list, how many of the lines, and the last round of the list.
local function merge(list, lined, last, limit, found)
  local listed, fair = 0, 0
  while listed + fair < limit do
    local entry, token, round = list[listed + 1], lined[2 * fair + 1], tonumber(lined[2 * fair + 2])
    local is_back = entry and find(entry, ':', 1, true)
    if entry and (is_back or not token or last < round) then
      listed = listed + 1
      insert(found, entry)
      if token and not is_back then
        last = round
      end
    elseif token then
      fair = fair + 1
      insert(found, token)
    else
      break
    end
  end
  return listed, fair, last
end

-- The first `limit` ready messages of a queue with lines, in the order of delivery. They are removed if `removes`.
local function in_turn(base, limit, removes)
  local found = {}
  for level = 9, 0, -1 do
    local room = limit - #found
    if room > 0 then
      local first, stop = rounds_of(level)
      local key = base .. ':ready:' .. level
      local list = call('LRANGE', key, 0, room - 1)
      local lined = call('ZRANGEBYSCORE', base .. ':fair', first, stop, 'WITHSCORES', 'LIMIT', 0, room)
      local last = tonumber(call('ZSCORE', base .. ':rounds', level) or -1)
      local listed, fair, served = merge(list, lined, last, room, found)
      if removes and listed > 0 then
        call('LTRIM', key, listed, -1)
      end
      if removes and served > last then
        call('ZADD', base .. ':rounds', served, level)
      end
      if removes and fair > 0 then
        local tokens = {}
        for index = 1, fair do
          tokens[index] = lined[2 * index - 1]
        end
        call('ZREM', base .. ':fair', unpack(tokens))
      end
    end
  end
  if removes and call('EXISTS', base .. ':fair') == 0 then
    call('DEL', base .. ':rounds')
  end
  return found
end
