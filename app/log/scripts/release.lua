-- A hold whose command is off the log without having been settled (a worker of an older release ended it): free what it
-- reserved. What it came to is added when its purses are set right from the books, so they are named as touched.
-- KEYS: commands, holds, touched;  ARGV: request
-- → whether it was so
local hold = redis.call('HGET', KEYS[2], ARGV[1])
if not hold then return 0 end
local entry = hold:match('^%S+ (%S+)')
if #redis.call('XRANGE', KEYS[1], entry, entry) > 0 then return 0 end
settle(KEYS[2], KEYS[3], ARGV[1], '0')
return 1
