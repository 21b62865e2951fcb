-- List tasks by the index, the newest first.
-- KEYS: the index. ARGV: the largest time, as ZREVRANGEBYSCORE takes it; how many ids to pass; how many records to find;
-- for each state, in order, 1 if it is wanted, 0 if not.
-- Reply: the time of the last id that was passed, false if there are no more; then ids and records.
index_base = KEYS[1]
local most, limit, wanted = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local entries = call('ZREVRANGEBYSCORE', index_base, ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, most)
local reply, found, passed = {false}, 0, 0
while passed < #entries and found < limit do
  local id = entries[passed + 1]
  local head = call('GETRANGE', task_key(id), 0, 1)
  if head == '' then
    call('ZREM', index_base, id)
    call('ZREM', index_base .. ':ends', id)
  elseif byte(wanted, byte(head, 2) + 1) == 49 then
    found = found + 1
    insert(reply, id)
    insert(reply, call('GET', task_key(id)))
  end
  passed = passed + 2
end
if passed < #entries or #entries == 2 * most then
  reply[1] = entries[passed]
end
return reply
