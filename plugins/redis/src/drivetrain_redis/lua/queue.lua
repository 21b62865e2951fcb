-- What the scripts of a queue share, after arrival.lua.
--
-- All keys of a queue begin with its base, which is what KEYS names; they are of one slot:
--   :ready:0 … :ready:9   lists of tokens, the next to be handed out first
--   :messages             hash: the packed message of each token
--   :held                 zset by the end of the hold: receipts, each a token and the number of its delivery
--   :lapsed               hash: of tokens whose hold has ended and that are ready again, the number of that delivery
--   :delayed              zset by the time when they are due
--   :dead                 zset by the time of death; :reasons is a hash beside it
--   :sequence             the last number that was given to a token
--   :waiting              zset: those who sleep, by the time until which they do: each its channel, and if it may be
--                         handed a message unasked, the number of its wait and for how long it holds
--   :given <the same>     the receipt of what it was handed so, until it asks again
--
-- A token is a digit for the level, 'r' if it was replayed, and a number that grows. Where a message was handed out
-- before, its token is followed by ':' and how often, in lists and in :delayed. Times are microseconds.

-- On a cluster KEYS names all keys of the queues, after their bases, which alone end with a brace.
local BASES = {}
for _, key in ipairs(KEYS) do
  if byte(key, -1) == 125 then
    insert(BASES, key)
  end
end

local TOP = 9
local WAITING_MS = 7200000

local function split(token)
  local colon = find(token, ':', 1, true)
  if colon then
    return sub(token, 1, colon - 1), sub(token, colon + 1)
  end
  return token, nil
end

local function list_of(base, token)
  return base .. ':ready:' .. sub(token, 1, 1)
end

-- Make ready what is due and what is no longer held, a bounded number of each.
local function ripen(base, now, most)
  local due = call('ZRANGEBYSCORE', base .. ':delayed', '-inf', now, 'LIMIT', 0, most)
  if #due > 0 then
    call('ZREM', base .. ':delayed', unpack(due))
    for _, token in ipairs(due) do
      call('RPUSH', list_of(base, token), token)
    end
  end
  local over = call('ZRANGEBYSCORE', base .. ':held', '-inf', now, 'LIMIT', 0, most)
  if #over > 0 then
    call('ZREM', base .. ':held', unpack(over))
    for place = #over, 1, -1 do
      local token, times = split(over[place])
      call('LPUSH', list_of(base, token), over[place])
      call('HSET', base .. ':lapsed', token, times)
    end
  end
end

-- Take receipts out of :held; the tokens and delivery numbers of those that are still their bearer's.
-- One whose hold has ended is, until somebody else was handed the message.
local function reclaim(base, receipts)
  local scores = call('ZMSCORE', base .. ':held', unpack(receipts))
  local gone, tokens, times, seen, mine = {}, {}, {}, {}, {}
  for place, receipt in ipairs(receipts) do
    if not seen[receipt] then
      seen[receipt] = true
      local token, count = split(receipt)
      local is_mine = scores[place]
      if is_mine then
        insert(gone, receipt)
      elseif count and call('HGET', base .. ':lapsed', token) == count then
        call('HDEL', base .. ':lapsed', token)
        call('LREM', list_of(base, token), 1, receipt)  -- it lies near the head
        is_mine = true
      end
      if is_mine then
        insert(tokens, token)
        insert(times, count)
        mine[receipt] = true
      end
    end
  end
  if #gone > 0 then
    call('ZREM', base .. ':held', unpack(gone))
  end
  return tokens, times, mine
end
