-- Keep an answer, unless what it belongs to has been forgotten since it was asked for; its lease ends either way.
-- KEYS: entry, lease, generation of the account, generation of the scope
-- ARGV: token, generations, ms to keep, sealed, generation's ms  → 1 when it is kept
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
local generations = ''
for at = 3, 4 do
  generations = generations .. (redis.call('GET', KEYS[at]) or '') .. ' '
end
if generations ~= ARGV[2] then
  return 0
end
local now = redis.call('TIME')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generations', generations, 'sealed', ARGV[4],
  'at_ms', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for at = 3, 4 do
  redis.call('PEXPIRE', KEYS[at], ARGV[5])
end
return 1
