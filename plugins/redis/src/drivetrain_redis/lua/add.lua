-- Add messages to a queue.
local ETA_AT = 7
-- About the year 2255; a double tells microseconds apart until then.
local END_OF_TIME = 9e15

-- `has_fair`: whether any of the messages may have a fair key.
local function add(base, messages, now, counts_listeners, has_fair)
  local first = numbers(base, #messages)
  local fields, delayed, late, lists, ready, soonest = {}, {}, {}, {}, 0, math.huge
  local lined, lined_messages = {}, {}
  for index, message in ipairs(messages) do
    local kind, level = byte(message, 1, 2)
    local has_eta = kind % 4 >= 2
    local is_lined = has_fair and fair_key(message)
    local token = (level - 48) .. (is_lined and 'f' or '') .. (first + index - 1)
    fields[2 * index - 1] = token
    fields[2 * index] = message
    local due = 0
    if has_eta then
      due = math.min(math.ceil(struct.unpack('>d', message, ETA_AT) * 1000000), END_OF_TIME)
    end
    if due > now then
      insert(delayed, due)
      insert(delayed, token)
      soonest = math.min(soonest, due)
    elseif is_lined then
      insert(lined, token)
      insert(lined_messages, message)
    elseif has_eta then
      insert(late, {due, token, level})
    else
      local list = lists[level]
      if not list then
        list = {}
        lists[level] = list
      end
      list[#list + 1] = token
      ready = ready + 1
    end
  end
  if #late > 0 then
    -- Due before all messages that are due now, in the same order.
    table.sort(late, function(one, other)
      return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
    end)
    for _, entry in ipairs(late) do
      call('RPUSH', list_of(base, entry[2]), entry[2])
    end
    ready = ready + #late
  end
  call('HSET', base .. ':messages', unpack(fields))
  for level, list in pairs(lists) do
    call('RPUSH', base .. ':ready:' .. level - 48, unpack(list))
  end
  if #lined > 0 then
    enter_lines(base, lined, lined_messages)
    ready = ready + #lined
  end
  if #delayed > 0 then
    call('ZADD', base .. ':delayed', unpack(delayed))
    wake_past(base, soonest)
  end
  if ready > 0 then
    wake(base, ready, now, counts_listeners)
  end
end
