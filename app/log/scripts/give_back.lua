-- A worker gives back what it will not do, for anyone to take over; each keeps the count it had, or has it set back to
-- what it was before a delivery of which nothing came.
-- KEYS: commands, control;  ARGV: group, consumer, idle ms to set, then (entry, attempt, count to set) for each
-- → how many were still its own
local given = 0
for at = 4, #ARGV, 3 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if pending and pending[2] == ARGV[2] and pending[4] == tonumber(ARGV[at + 1]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at], 'IDLE', ARGV[3], 'RETRYCOUNT', ARGV[at + 2], 'JUSTID')
    given = given + 1
  end
end
if given > 0 and tonumber(ARGV[3]) > 0 then redis.call('PUBLISH', KEYS[2], 'returned') end
return given
