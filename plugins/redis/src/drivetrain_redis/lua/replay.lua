-- Make dead letters ready again, each under a new token, so that no receipt of its former life fits it.
-- ARGV: whether PUBLISH tells who listens; after which time of death to begin; at most how many are looked at; the ids
-- of those that are wanted, none for all. Reply: how many were replayed, and the time of death of the last one seen.
local base, tells, after, limit = KEYS[1], ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])
local now = clock()
local wanted
if #ARGV > 3 then
  wanted = {}
  for at = 4, #ARGV do
    wanted[ARGV[at]] = true
  end
end
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
if #chosen > 0 then
  local first = numbers(base, #chosen)
  for place, token in ipairs(chosen) do
    local fresh = sub(token, 1, 1) .. 'r' .. (first + place - 1)
    call('HSET', base .. ':messages', fresh, call('HGET', base .. ':messages', token))
    call('RPUSH', list_of(base, fresh), fresh)
  end
  call('ZREM', base .. ':dead', unpack(chosen))
  call('HDEL', base .. ':messages', unpack(chosen))
  call('HDEL', base .. ':reasons', unpack(chosen))
  ring(base, #chosen, now, tells)
end
return {#chosen, scored[#scored] or ''}
