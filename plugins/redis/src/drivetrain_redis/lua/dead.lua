-- Functions that select dead letters, for the scripts that replay and drop them.

-- Look at dead letters that died after a time, at most `limit`. The tokens of those with a wanted id (nil: all), and
-- the time of death of the last one that was looked at, empty if there was none.
local function chosen_dead(base, after, limit, wanted)
  local scored = call('ZRANGEBYSCORE', base .. ':dead', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  local chosen = {}
  for at = 1, #scored, 2 do
    local token = scored[at]
    if wanted then
      local note = call('HGET', base .. ':reasons', token)
      local length = struct.unpack('>I4', note)
      if wanted[sub(note, 5, 4 + length)] then
        insert(chosen, token)
      end
    else
      insert(chosen, token)
    end
  end
  return chosen, scored[#scored] or ''
end

local function forget_dead(base, tokens)
  call('ZREM', base .. ':dead', unpack(tokens))
  call('HDEL', base .. ':messages', unpack(tokens))
  call('HDEL', base .. ':reasons', unpack(tokens))
end

-- The ids in ARGV from an index on, as a set; nil if there are none.
local function ids_from(index)
  if #ARGV < index then
    return nil
  end
  local wanted = {}
  for at = index, #ARGV do
    wanted[ARGV[at]] = true
  end
  return wanted
end
