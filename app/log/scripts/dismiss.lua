-- Forget consumers that are gone for good. With anything pending it would be lost to everybody: looked at and deleted in
-- one step, so that no delivery comes between.
-- KEYS: commands;  ARGV: group, idle ms from which a consumer is gone
-- → their names
local dismissed = {}
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    dismissed[#dismissed + 1] = consumer.name
  end
end
return dismissed
