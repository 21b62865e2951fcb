-- Drop dead letters.
-- ARGV: after which time of death to begin; at most how many are looked at; the ids of those that are dropped.
-- Reply: how many were dropped, and the time of death of the last one seen.
local base = KEYS[1]
local chosen, last = chosen_dead(base, ARGV[1], tonumber(ARGV[2]), ids_from(3))
if #chosen > 0 then
  forget_dead(base, chosen)
end
return {#chosen, last}
