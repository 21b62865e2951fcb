-- Open groups that are not open.
-- ARGV: for each: its size, whether it collects failures, its continuation.
for index, key in ipairs(TASKS) do
  local group = key .. ':group'
  if call('HSETNX', group, 'size', ARGV[3 * index - 2]) == 1 then
    call('HSET', group, 'collect', ARGV[3 * index - 1], 'next', ARGV[3 * index], 'failed', '0')
    local rest = call('PTTL', key)
    if rest >= 0 then
      call('PEXPIRE', group, rest)
    end
  end
end
return 1
