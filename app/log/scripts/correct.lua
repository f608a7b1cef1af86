-- Set a purse right by so much: what was counted meanwhile stays. Not when somebody else has done so since it was read, nor
-- when the day has turned.
-- KEYS: purse;  ARGV: times it had been set right, day, month, then what is added to the day, to the month, ever
-- → whether it was done
local day, month = calendar(tonumber(redis.call('TIME')[1]))
if (redis.call('HGET', KEYS[1], 'rev') or '0') ~= ARGV[1] or day ~= ARGV[2] or month ~= ARGV[3] then return 0 end
spend(KEYS[1], redis.call('HMGET', KEYS[1], 'day', 'month'), day, month, ARGV[4], ARGV[5], ARGV[6])
redis.call('HSET', KEYS[1], 'known', '1')
redis.call('HINCRBY', KEYS[1], 'rev', 1)
redis.call('PERSIST', KEYS[1])
return 1
