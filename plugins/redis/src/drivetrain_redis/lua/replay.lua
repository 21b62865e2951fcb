-- Make dead letters ready again. Each gets a new token, so that its old receipts are not valid.
-- ARGV: the time of death to start after; how many to look at, at most; whether PUBLISH counts all listeners; the ids
-- to replay, none for all.
-- Reply: how many were replayed, and the time of death of the last one that was looked at.
local base, counts_listeners = KEYS[1], ARGV[3] == '1'
local now = clock()

-- The message as if it was published now. `pack_message` in codec.py describes the head.
local function published_now(message)
  local kind, time = byte(message, 1), struct.pack('>d', now / 1000000)
  local new = string.char(kind % 4 + 4)
  if kind % 4 < 2 then
    return new .. sub(message, 2, 6) .. time .. sub(message, 15)
  end
  return new .. sub(message, 2, 14) .. time .. sub(message, kind < 6 and 15 or 23)
end

local chosen, last = chosen_dead(base, ARGV[1], tonumber(ARGV[2]), ids_from(4))
if #chosen > 0 then
  local first = numbers(base, #chosen)
  local lined, messages = {}, {}
  for index, token in ipairs(chosen) do
    local fresh = sub(token, 1, 1) .. (is_fair(token) and 'g' or 'r') .. (first + index - 1)
    local message = published_now(call('HGET', base .. ':messages', token))
    call('HSET', base .. ':messages', fresh, message)
    if is_fair(fresh) then
      insert(lined, fresh)
      insert(messages, message)
    else
      call('RPUSH', list_of(base, fresh), fresh)
    end
  end
  if #lined > 0 then
    enter_lines(base, lined, messages)
  end
  forget_dead(base, chosen)
  wake(base, #chosen, now, counts_listeners)
end
return {#chosen, last}
