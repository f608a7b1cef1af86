-- Who leads says it is still at it, or, with no time, that it gives up.
-- KEYS: lease;  ARGV: token, ms  → 1 while it was the one that leads
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
