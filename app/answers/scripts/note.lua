-- Note a question among its like: the newest first, a bounded number, all of them for as long as the longest.
-- KEYS: neighbours;  ARGV: sealed, how many at most, ms to keep
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'list' and kind ~= 'none' then -- not of our making
  redis.call('UNLINK', KEYS[1])
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
