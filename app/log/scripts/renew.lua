-- The owner says it is still at work; with an idle time, that it gives its entries back.
-- KEYS: commands;  ARGV: group, consumer, idle ms to set, prefix of request keys, then (entry, attempt, request) for each
-- → for each: '' still mine, '!' no longer mine, else who has cancelled it
local said = {}
for at = 5, #ARGV, 3 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if not pending or pending[2] ~= ARGV[2] or pending[4] ~= tonumber(ARGV[at + 1]) then
    said[#said + 1] = '!'
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at], 'IDLE', ARGV[3], 'JUSTID')
    said[#said + 1] = redis.call('HGET', ARGV[4] .. ARGV[at + 2], 'cancel') or ''
  end
end
return said
