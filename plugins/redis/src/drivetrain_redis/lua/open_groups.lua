-- Open groups that are not open. ARGV: for each its size, whether it collects failures, and its continuation.
for place, key in ipairs(TASKS) do
  local group = key .. ':group'
  if call('HSETNX', group, 'size', ARGV[3 * place - 2]) == 1 then
    call('HSET', group, 'collect', ARGV[3 * place - 1], 'next', ARGV[3 * place], 'failed', '0')
    local left = call('PTTL', key)
    if left >= 0 then
      call('PEXPIRE', group, left)
    end
  end
end
return 1
