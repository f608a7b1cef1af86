-- Nobody asks any more what is spent on this: the purse is not known until it is reckoned again. What is held is let go of
-- by the requests that hold it.
-- KEYS: purse;  ARGV: seconds after which it goes
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'known', 'day', 'month', 'ever_spent')
redis.call('HINCRBY', KEYS[1], 'rev', 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
