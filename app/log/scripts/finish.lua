-- The end of a request in one step, for its owner alone: fact, last word, release, ack.
-- KEYS: commands, events, live, reply, request, open, parked, holds, touched
-- ARGV: group, entry, consumer, attempt, request, state, envelope, type, message,
--       meta of the last frame, the sealed answer, the frame's number, seconds kept,
--       '1' when a web process waits, cap of the reply stream,
--       why it is parked ('': it is not),
--       '1' when it holds tokens or money, nano-dollars it came to, tokens it used
-- → the id of the event, or nothing when the entry has another owner by now
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending or pending[2] ~= ARGV[3] or pending[4] ~= tonumber(ARGV[4]) then return false end

local event = redis.call('XADD', KEYS[2], '*', '__data__', ARGV[7], 'type', ARGV[8], 'id', ARGV[9])
-- Where nothing was told and nobody follows, the event says it all: a stream of one entry would cost 5 kB for an hour.
if redis.call('EXISTS', KEYS[3]) == 1 or redis.call('HGET', KEYS[5], 'followed') then
  redis.call('XADD', KEYS[3], '*', 'a', ARGV[4], 'k', 'e', 'n', ARGV[12], 'm', ARGV[10])
  redis.call('EXPIRE', KEYS[3], ARGV[13])
end
if ARGV[14] == '1' then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[15], '*',
    'r', ARGV[5], 'a', ARGV[4], 'k', 'e', 'n', ARGV[12], 'm', ARGV[10], 'f', ARGV[11])
  redis.call('EXPIRE', KEYS[4], 120)
end
redis.call('HSET', KEYS[5], 'state', ARGV[6], 'event', event)
redis.call('EXPIRE', KEYS[5], ARGV[13])
redis.call('ZREM', KEYS[6], ARGV[5])
if ARGV[17] == '1' then settle(KEYS[8], KEYS[9], ARGV[5], ARGV[18], ARGV[19]) end
if ARGV[16] ~= '' then
  local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
  if entry then redis.call('XADD', KEYS[7], '*', 'why', ARGV[16], 'request', ARGV[5], unpack(entry[2])) end
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return event
