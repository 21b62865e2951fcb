-- Drop ids from the index whose record has expired.
-- KEYS: the index. ARGV: how many at most. Reply: how many were due.
index_base = KEYS[1]
return drop_stale(clock(), tonumber(ARGV[1]))
