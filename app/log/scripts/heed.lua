-- Somebody follows a request: its end is then written to its live stream even if nothing else is.
-- KEYS: request
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'queued' then redis.call('HSET', KEYS[1], 'followed', '1') end
return state
