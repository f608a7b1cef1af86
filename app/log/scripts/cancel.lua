-- Ask the worker that runs a request to stop it; one that waits in the queue is stopped when it is taken up.
-- KEYS: request, control (a channel of the same partition);  ARGV: request, by, account
-- One who leaves does not cancel what somebody else has attached to.
-- → its state, or nothing when it is unknown or another's
local is = redis.call('HMGET', KEYS[1], 'state', 'account', 'attached')
if not is[1] or is[2] ~= ARGV[3] then return false end
if (is[1] == 'queued' or is[1] == 'running') and not (ARGV[2] == 'disconnect' and is[3]) then
  redis.call('HSETNX', KEYS[1], 'cancel', ARGV[2])
  redis.call('PUBLISH', KEYS[2], ARGV[2] .. ' ' .. ARGV[1])
end
return is[1]
