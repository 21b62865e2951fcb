-- Enter a transition into a record, as drivetrain.contract.states.apply says.
-- ARGV: the transitions, one after the other in one string, for each argument costs more than it holds; then those
-- payloads that are large.
local now = clock()
-- State, what is told, attempt, lease, retention, place of the group among KEYS, index; the lengths of run, name,
-- entries, downstream and payload, which follow.
local WISH = '>BBI4ddI4I8I4I4I4I4I4'
local bor = bit.bor
local _

local function held(state, lease)
  return state == STARTED and lease and lease > now
end

-- drivetrain.contract.states.grants, for a record that is there.
local function grants(state, attempt, run, lease, to, wish_attempt, wish_run)
  if state >= SUCCESS then
    return false
  end
  if to == PENDING then
    return state == PENDING
  end
  if to == STARTED then
    if wish_attempt ~= attempt then
      return wish_attempt > attempt
    end
    return state ~= RETRY and (run == wish_run or not held(state, lease))
  end
  if to == EXPIRED and held(state, lease) then
    return false
  end
  if not wish_run then
    return to >= SUCCESS
  end
  return state == STARTED and run == wish_run
end

-- drivetrain.contract.states.starts_after, for a record that is there.
local function starts_after(state, attempt, run, starts, to, wish_attempt, wish_run)
  if to == RECEIVED then
    return math.max(0, starts - 1)
  end
  if to ~= STARTED then
    return starts
  end
  if wish_attempt > attempt then
    return 1
  end
  return (state == STARTED and run == wish_run) and starts or starts + 1
end

-- Entries without those that no longer count: of each state the last does.
local function shortened(entries)
  local last, order, at = {}, {}, 1
  while at <= #entries do
    local state, _, length, start = struct.unpack('>BdI4', entries, at)
    if not last[state] then
      insert(order, state)
    end
    last[state] = sub(entries, at, start + length - 1)
    at = start + length
  end
  local parts = {}
  for place, state in ipairs(order) do
    parts[place] = last[state]
  end
  return table.concat(parts)
end

local at = 1  -- where in the argument the next transition begins
local apart = 1  -- the last payload that was apart

local function enter(key)
  local wishes = ARGV[1]
  local to, told, wish_attempt, span, retention, place, index, run_size, task_size, entry_size, downstream_size,
    payload_size, first = struct.unpack(WISH, wishes, at)
  local task_at = first + run_size
  local entry_at = task_at + task_size
  local downstream_at = entry_at + entry_size
  local payload_at = downstream_at + downstream_size
  at = payload_at + payload_size
  local wish_run = has(told, HAS_RUN) and sub(wishes, first, task_at - 1)
  local wish_payload
  if has(told, IS_APART) then
    apart = apart + 1
    wish_payload = ARGV[apart]
  else
    wish_payload = sub(wishes, payload_at, at - 1)
  end

  local before = call('GET', key)
  local flags, attempt, starts, run, task, entries, downstream, payload = 0, wish_attempt, 0, false, '', '', '', ''
  if before then
    local state, lease, run_length, task_length, entries_length, downstream_length, start
    flags, state, attempt, starts, lease, _, run_length, task_length, entries_length, downstream_length, start =
      struct.unpack(FORMAT, before)
    run = has(flags, HAS_RUN) and sub(before, start, start + run_length - 1)
    lease = has(flags, HAS_LEASE) and lease
    if not grants(state, attempt, run, lease, to, wish_attempt, wish_run) then
      return 0, before, false
    end
    starts = starts_after(state, attempt, run, starts, to, wish_attempt, wish_run)
    attempt = math.max(attempt, wish_attempt)
    start = start + run_length
    task = sub(before, start, start + task_length - 1)
    start = start + task_length
    entries = sub(before, start, start + entries_length - 1)
    start = start + entries_length
    downstream = sub(before, start, start + downstream_length - 1)
    if has(flags, HAS_PAYLOAD) and not has(told, HAS_PAYLOAD) then
      payload = sub(before, start + downstream_length)
    end
  elseif to == STARTED and (wish_run or wish_attempt > 0) then
    starts = 1
  end

  if not before or to ~= PENDING then  -- when it was first sent stays known
    entries = entries .. sub(wishes, entry_at, downstream_at - 1)
    if #entries > LONGEST_ENTRIES then
      entries = shortened(entries)
    end
  end
  run = wish_run or run
  if task_size > 0 then
    task = sub(wishes, task_at, entry_at - 1)
  end
  if has(told, HAS_DOWNSTREAM) then
    downstream = sub(wishes, downstream_at, payload_at - 1)
  end
  if has(told, HAS_PAYLOAD) then
    payload = wish_payload
  end

  local terminal = to >= SUCCESS
  local new = bor(band(bor(flags, told), HAS_PAYLOAD + HAS_DOWNSTREAM), run and HAS_RUN or 0)
  local lease, expires = 0, 0
  if to == STARTED and has(told, HAS_LEASE) then
    lease = now + span
    new = new + HAS_LEASE
  end
  local expiring = terminal and has(told, HAS_EXPIRES)
  if expiring then
    expires = math.min(now + retention, END_OF_TIME_MS / 1000)
    new = new + HAS_EXPIRES
  end
  if not terminal then
    new = new + band(flags, HAS_WAITERS)
  end

  local after
  if expiring and retention <= 0 then
    drop(key)
  else
    run = run or ''
    after = struct.pack(FORMAT, new, to, attempt, starts, lease, expires, #run, #task, #entries, #downstream)
      .. run .. task .. entries .. downstream .. payload
    if expiring then
      local ends = milliseconds(expires)
      call('SET', key, after, 'PXAT', ends)
      call('PEXPIREAT', key .. ':group', ends)
    else
      call('SET', key, after)
    end
  end
  if terminal and has(flags, HAS_WAITERS) then
    wake(key, after)
  end
  local progress = false
  if terminal and has(told, HAS_MEMBER) then
    progress = complete(KEYS[place], string.format('%.0f', index), wish_payload, to ~= SUCCESS)
  end
  return 1, before, progress
end
