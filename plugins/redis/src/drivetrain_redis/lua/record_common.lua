-- Functions that the scripts of tasks share.
--
-- The record of a task is one string under the key of the task: a head of fixed length, which ends with the lengths of
-- four texts; these texts; and the payload, which is the rest. Lua joins them: struct.pack would copy byte by byte.
-- The second text is the name of the task. With HAS_NAMES it also has the queue, the workflow and the parent: the lengths
-- of the first three, then all four.
-- Two more keys are in the same slot: :group, a hash, if there is a group of the same id, and :waiting, a set, if a
-- caller waits for the end of the task. Times are seconds.
local call, insert, sub, byte = redis.call, table.insert, string.sub, string.byte

-- Flags, state, attempt, starts, lease, expiry; the lengths of run, name, changes and downstream.
local FORMAT = '>BBI4I4ddI4I4I4I4'
-- The part of the head that changes without the rest.
local HEAD, HEAD_BYTES = '>BBI4I4dd', 26
local LONGEST_CHANGES = 1000
-- In milliseconds, about the year 14,000: no record is kept longer.
local END_OF_TIME_MS = 4e14
-- A waiter that is never heard of again is forgotten after this time.
local WAITING_MS = 86400000

local PENDING, RECEIVED, STARTED, RETRY, SUCCESS, EXPIRED = 0, 1, 2, 3, 4, 7
local HAS_PAYLOAD, HAS_DOWNSTREAM, HAS_RUN, HAS_LEASE, HAS_EXPIRES, HAS_WAITERS, IS_INDEXED = 1, 2, 4, 8, 16, 32, 64
-- In a transition, not in a record.
local HAS_MEMBER, IS_SEPARATE = 32, 64
-- In both.
local HAS_NAMES = 128
local GROUP_FIELDS = 4

-- On a cluster KEYS has the other keys of the tasks too, after the tasks; only the key of a task ends with a brace.
local TASKS = {}
for _, key in ipairs(KEYS) do
  if byte(key, -1) == 125 then
    insert(TASKS, key)
  end
end

local band = bit.band

local function clock()
  local time = call('TIME')
  return time[1] + time[2] / 1000000
end

local function has(flags, flag)
  return band(flags, flag) ~= 0
end

-- Unread notifications count against a limit of the server. So they hold no larger record, and none for a wait for many
-- tasks, which may all end before one is read.
local LARGEST_NOTIFICATION_BYTES = 65536

-- Notify all waiters of a task that it has ended, with its record if they wait for this task only.
local function notify_waiters(key, record)
  local ended = ' ' .. #key .. ' ' .. key
  record = record and #record <= LARGEST_NOTIFICATION_BYTES and record or ''
  for _, token in ipairs(call('SMEMBERS', key .. ':waiting')) do
    local channel, number, many = string.match(token, '^(%S+) (%S+)(.*)$')
    call('PUBLISH', channel, number .. ended .. (many == '' and record or ''))
  end
  call('DEL', key .. ':waiting')
end

local groups = {}

local function drop(key)
  groups[key .. ':group'] = nil
  call('UNLINK', key, key .. ':group')
end

local function milliseconds(time)
  return math.min(math.ceil(time * 1000), END_OF_TIME_MS)
end

-- Complete a member of a group: the progress of the group, or false if it is unknown.
local function complete(key, index, payload, failed)
  local group = groups[key]
  if group == nil then
    local size, collect, is_failed = unpack(call('HMGET', key, 'size', 'collect', 'failed'))
    group = size and {size, collect == '1', is_failed == '1', call('HLEN', key) - GROUP_FIELDS, tonumber(size)}
    groups[key] = group
  end
  if not group then
    return false
  end
  local number = tonumber(index)
  if number >= 0 and number < group[5] and call('HSETNX', key, index, payload) == 1 then
    group[4] = group[4] + 1
    if failed and not group[2] and not group[3] then
      group[3] = true
      call('HSET', key, 'failed', '1')
    end
  end
  return {group[1], group[4], group[3] and 1 or 0}
end
