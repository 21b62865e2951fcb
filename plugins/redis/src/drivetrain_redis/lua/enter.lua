-- Functions that apply a transition to a record, by the rule of drivetrain.contract.states.apply.
-- ARGV: the transitions, all in one string, because each argument has a cost; then the payloads that are large.
local now = clock()
-- State, flags, attempt, lease, retention, index of the group in KEYS, index of the member; the lengths of run,
-- names, changes, downstream and payload, which follow.
local TRANSITION = '>BBI4ddI4I8I4I4I4I4I4'
local bor = bit.bor
local _

local function held(state, lease)
  return state == STARTED and lease and lease > now
end

-- drivetrain.contract.states.grants, for a record that exists.
local function grants(state, attempt, run, lease, to, to_attempt, to_run)
  if state >= SUCCESS then
    return false
  end
  if to == PENDING then
    return state == PENDING
  end
  if to == STARTED then
    if to_attempt ~= attempt then
      return to_attempt > attempt
    end
    return state ~= RETRY and (run == to_run or not held(state, lease))
  end
  if to == EXPIRED and held(state, lease) then
    return false
  end
  if not to_run then
    return to >= SUCCESS
  end
  return state == STARTED and run == to_run
end

-- drivetrain.contract.states.starts_after, for a record that exists.
local function starts_after(state, attempt, run, starts, to, to_attempt, to_run)
  if to == RECEIVED then
    return math.max(0, starts - 1)
  end
  if to ~= STARTED then
    return starts
  end
  if to_attempt > attempt then
    return 1
  end
  return (state == STARTED and run == to_run) and starts or starts + 1
end

-- The last change to each state, in their order, without the earlier ones, which do not count. A change to RECEIVED takes
-- back the change to STARTED before it.
local function shortened(changes)
  local last, at, count = {}, 1, 0
  while at <= #changes do
    local state, _, length, start = struct.unpack('>BdI4', changes, at)
    if state == RECEIVED then
      last[STARTED] = nil
    end
    count = count + 1
    last[state] = {count, sub(changes, at, start + length - 1)}
    at = start + length
  end
  local parts = {}
  for _, change in pairs(last) do
    insert(parts, change)
  end
  table.sort(parts, function(one, other) return one[1] < other[1] end)
  for index, change in ipairs(parts) do
    parts[index] = change[2]
  end
  return table.concat(parts)
end

-- The name, queue, workflow and parent in the second text of a record or a transition.
local function split_names(flags, text)
  if not has(flags, HAS_NAMES) then
    return {text, '', '', ''}
  end
  local name, queue, workflow, start = struct.unpack('>I4I4I4', text)
  queue = name + queue
  workflow = queue + workflow
  return {
    sub(text, start, start + name - 1),
    sub(text, start + name, start + queue - 1),
    sub(text, start + queue, start + workflow - 1),
    sub(text, start + workflow),
  }
end

-- The names of a record after a transition that has some: an empty one stays as it was.
local function merged_names(flags, names, to_flags, to_names)
  if not has(bor(flags, to_flags), HAS_NAMES) then
    return to_names
  end
  if not has(to_flags, HAS_NAMES) and struct.unpack('>I4', names) == #to_names
    and sub(names, 13, 12 + #to_names) == to_names then
    return names  -- a worker repeats the name of the task at each change
  end
  local before, after = split_names(flags, names), split_names(to_flags, to_names)
  for index = 1, 4 do
    if after[index] == '' then
      after[index] = before[index]
    end
  end
  return struct.pack('>I4I4I4', #after[1], #after[2], #after[3]) .. table.concat(after)
end

local at = 1  -- where the next transition begins
local separate = 1  -- the index of the last separate payload in ARGV

local function enter(key)
  local transitions = ARGV[1]
  local to, flags_set, to_attempt, span, retention, group_key, index, run_size, names_size, change_size, downstream_size,
    payload_size, first = struct.unpack(TRANSITION, transitions, at)
  local names_at = first + run_size
  local change_at = names_at + names_size
  local downstream_at = change_at + change_size
  local payload_at = downstream_at + downstream_size
  at = payload_at + payload_size
  local to_run = has(flags_set, HAS_RUN) and sub(transitions, first, names_at - 1)
  local to_payload
  if has(flags_set, IS_SEPARATE) then
    separate = separate + 1
    to_payload = ARGV[separate]
  else
    to_payload = sub(transitions, payload_at, at - 1)
  end

  local before = call('GET', key)
  local flags, attempt, starts, run, names, changes, downstream, payload = 0, to_attempt, 0, false, '', '', '', ''
  if before then
    local state, lease, run_length, names_length, changes_length, downstream_length, start
    flags, state, attempt, starts, lease, _, run_length, names_length, changes_length, downstream_length, start =
      struct.unpack(FORMAT, before)
    run = has(flags, HAS_RUN) and sub(before, start, start + run_length - 1)
    lease = has(flags, HAS_LEASE) and lease
    if not grants(state, attempt, run, lease, to, to_attempt, to_run) then
      return 0, before, false
    end
    starts = starts_after(state, attempt, run, starts, to, to_attempt, to_run)
    attempt = math.max(attempt, to_attempt)
    start = start + run_length
    names = sub(before, start, start + names_length - 1)
    start = start + names_length
    changes = sub(before, start, start + changes_length - 1)
    start = start + changes_length
    downstream = sub(before, start, start + downstream_length - 1)
    if has(flags, HAS_PAYLOAD) and not has(flags_set, HAS_PAYLOAD) then
      payload = sub(before, start + downstream_length)
    end
  elseif to == STARTED and (to_run or to_attempt > 0) then
    starts = 1
  end

  if not before or to ~= PENDING then  -- the time of the first send is kept
    changes = changes .. sub(transitions, change_at, downstream_at - 1)
    if #changes > LONGEST_CHANGES then
      changes = shortened(changes)
    end
  end
  run = to_run or run
  if names_size > 0 then
    local to_names = sub(transitions, names_at, change_at - 1)
    names = before and merged_names(flags, names, flags_set, to_names) or to_names
  end
  if has(flags_set, HAS_DOWNSTREAM) then
    downstream = sub(transitions, downstream_at, payload_at - 1)
  end
  if has(flags_set, HAS_PAYLOAD) then
    payload = to_payload
  end

  local terminal = to >= SUCCESS
  local new = bor(band(bor(flags, flags_set), HAS_PAYLOAD + HAS_DOWNSTREAM + HAS_NAMES), run and HAS_RUN or 0)
  local lease, expires = 0, 0
  if to == STARTED and has(flags_set, HAS_LEASE) then
    lease = now + span
    new = new + HAS_LEASE
  end
  local expiring = terminal and has(flags_set, HAS_EXPIRES)
  if expiring then
    expires = math.min(now + retention, END_OF_TIME_MS / 1000)
    new = new + HAS_EXPIRES
  end
  if not terminal then
    new = new + band(flags, HAS_WAITERS)
  end

  local after
  local was_indexed, dropped = has(flags, IS_INDEXED), expiring and retention <= 0
  local is_indexed = not dropped and (INDEXED[to] or was_indexed and not terminal)
  if is_indexed then
    new = new + IS_INDEXED
    if terminal or not was_indexed then
      add_to_index(key, now, expiring and expires)
    end
  elseif was_indexed then
    remove_from_index(key)
  end
  if dropped then
    drop(key)
  else
    run = run or ''
    after = struct.pack(FORMAT, new, to, attempt, starts, lease, expires, #run, #names, #changes, #downstream)
      .. run .. names .. changes .. downstream .. payload
    if expiring then
      local ends = milliseconds(expires)
      call('SET', key, after, 'PXAT', ends)
      call('PEXPIREAT', key .. ':group', ends)
    else
      call('SET', key, after)
    end
  end
  if terminal and has(flags, HAS_WAITERS) then
    notify_waiters(key, after)
  end
  local progress = false
  if terminal and has(flags_set, HAS_MEMBER) then
    progress = complete(KEYS[group_key], string.format('%.0f', index), to_payload, to ~= SUCCESS)
  end
  return 1, before, progress
end
