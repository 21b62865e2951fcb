-- Drop dead letters.
-- ARGV: the time of death to start after; how many to look at, at most; the ids to drop.
-- Reply: how many were dropped, and the time of death of the last one that was looked at.
local base = KEYS[1]
local chosen, last = chosen_dead(base, ARGV[1], tonumber(ARGV[2]), ids_from(3))
if #chosen > 0 then
  forget_dead(base, chosen)
end
return {#chosen, last}
