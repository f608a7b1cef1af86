-- The owner says it is still at work.
-- KEYS: commands;  ARGV: group, consumer, prefix of request keys, then (entry, attempt, request) for each
-- → for each: '' still mine, '!' no longer mine, else who has cancelled it
local said = {}
for at = 4, #ARGV, 3 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if not pending or pending[2] ~= ARGV[2] or pending[4] ~= tonumber(ARGV[at + 1]) then
    said[#said + 1] = '!'
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at], 'IDLE', 0, 'JUSTID')
    said[#said + 1] = redis.call('HGET', ARGV[3] .. ARGV[at + 2], 'cancel') or ''
  end
end
return said
