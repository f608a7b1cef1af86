-- A worker takes a request up. A later attempt tells the followers that what they have seen is void.
-- KEYS: request, live, reply;  ARGV: request, attempt, worker, seconds the live stream is kept, '1' when a web process waits
-- → who has cancelled it, or ''
redis.call('HSET', KEYS[1], 'state', 'running', 'attempt', ARGV[2], 'worker', ARGV[3])
if tonumber(ARGV[2]) > 1 then
  redis.call('XADD', KEYS[2], '*', 'a', ARGV[2], 'k', 'r', 'n', '0')
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  if ARGV[5] == '1' then redis.call('XADD', KEYS[3], '*', 'r', ARGV[1], 'a', ARGV[2], 'k', 'r', 'n', '0') end
end
return redis.call('HGET', KEYS[1], 'cancel') or ''
