-- Functions that the scripts of queues share, after arrival.lua.
--
-- All keys of a queue begin with its base, which is what KEYS names; they are of one slot:
--   :ready:0 … :ready:9   lists of tokens, the next to be handed out first
--   :messages             hash: the packed message of each token
--   :in_flight            zset by the end of the hold: receipts, each a token and the number of its delivery
--   :lapsed               hash: of tokens whose hold has ended and that are ready again, the number of that delivery
--   :delayed              zset by the time when they are due
--   :dead                 zset by the time of death; :reasons is a hash of the notes
--   :sequence             the last number that was given to a token
--   :waiting              zset of waiters by the end of their sleep: the channel; and if a message may be handed over,
--                         the number of the wait and the length of the hold
--   :given <waiter>       the receipt of the message that was handed over to a waiter, until its next call
--
-- A token is a digit for the level, a mark, and a number that grows. The mark is 'r' if it was replayed, 'f' if it
-- has a fair key (see fair.lua), 'g' if both, and nothing if neither. Where a message was handed out
-- before, its token is followed by ':' and how often, in lists and in :delayed. Times are microseconds.

-- On a cluster KEYS has all keys of the queues, after the bases; only a base ends with a brace.
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

-- Make messages ready that are due, or whose hold has ended: at most `most` of each.
local function make_ready(base, now, most)
  local due = call('ZRANGEBYSCORE', base .. ':delayed', '-inf', now, 'LIMIT', 0, most)
  if #due > 0 then
    call('ZREM', base .. ':delayed', unpack(due))
    local lined, tokens = {}, {}
    for _, entry in ipairs(due) do
      if is_fair(entry) then
        insert(lined, entry)
        insert(tokens, (split(entry)))
      else
        call('RPUSH', list_of(base, entry), entry)
      end
    end
    if #lined > 0 then
      enter_lines(base, lined, call('HMGET', base .. ':messages', unpack(tokens)))
    end
  end
  local over = call('ZRANGEBYSCORE', base .. ':in_flight', '-inf', now, 'LIMIT', 0, most)
  if #over > 0 then
    call('ZREM', base .. ':in_flight', unpack(over))
    for index = #over, 1, -1 do
      local token, times = split(over[index])
      call('LPUSH', list_of(base, token), over[index])
      call('HSET', base .. ':lapsed', token, times)
    end
  end
end

-- Remove receipts from :held. The tokens and delivery numbers of the valid ones, and the valid receipts as a set.
-- A receipt is valid until the message is delivered again, even if its hold has ended.
local function reclaim(base, receipts)
  local scores = call('ZMSCORE', base .. ':in_flight', unpack(receipts))
  local gone, tokens, times, seen, valid = {}, {}, {}, {}, {}
  for index, receipt in ipairs(receipts) do
    if not seen[receipt] then
      seen[receipt] = true
      local token, count = split(receipt)
      local is_valid = scores[index]
      if is_valid then
        insert(gone, receipt)
      elseif count and call('HGET', base .. ':lapsed', token) == count then
        call('HDEL', base .. ':lapsed', token)
        call('LREM', list_of(base, token), 1, receipt)  -- it lies near the head
        is_valid = true
      end
      if is_valid then
        insert(tokens, token)
        insert(times, count)
        valid[receipt] = true
      end
    end
  end
  if #gone > 0 then
    call('ZREM', base .. ':in_flight', unpack(gone))
  end
  return tokens, times, valid
end
