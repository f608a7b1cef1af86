-- A later attempt tells the followers that what they have seen is void.
-- KEYS: request, live, reply;  ARGV: request, attempt, seconds the live stream is kept, '1' when a web process waits
-- → who has cancelled it, or nothing
redis.call('XADD', KEYS[2], '*', 'a', ARGV[2], 'k', 'r', 'n', '0')
redis.call('EXPIRE', KEYS[2], ARGV[3])
if ARGV[4] == '1' then redis.call('XADD', KEYS[3], '*', 'r', ARGV[1], 'a', ARGV[2], 'k', 'r', 'n', '0') end
return redis.call('HGET', KEYS[1], 'cancel')
