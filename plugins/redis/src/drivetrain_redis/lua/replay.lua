-- Make dead letters ready again, each under a new token, so that no receipt of its former life fits it.
-- ARGV: after which time of death to begin; at most how many are looked at; whether PUBLISH tells who listens; the ids
-- of those that are wanted, none for all. Reply: how many were replayed, and the time of death of the last one seen.
local base, tells = KEYS[1], ARGV[3] == '1'
local chosen, last = chosen_dead(base, ARGV[1], tonumber(ARGV[2]), ids_from(4))
if #chosen > 0 then
  local first = numbers(base, #chosen)
  for place, token in ipairs(chosen) do
    local fresh = sub(token, 1, 1) .. 'r' .. (first + place - 1)
    call('HSET', base .. ':messages', fresh, call('HGET', base .. ':messages', token))
    call('RPUSH', list_of(base, fresh), fresh)
  end
  forget_dead(base, chosen)
  ring(base, #chosen, clock(), tells)
end
return {#chosen, last}
