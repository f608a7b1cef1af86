-- What a purse says, and up to where on the log that is true.
-- KEYS: purse, events
-- → {known or '', times it was set right, held, day, month, spent in the day, in the month, ever, newest event}
local day, month = calendar(tonumber(redis.call('TIME')[1]))
local has = purse(KEYS[1], day, month)
local newest = '0-0'
if redis.call('EXISTS', KEYS[2]) == 1 then
  local stream = redis.call('XINFO', 'STREAM', KEYS[2])
  for at = 1, #stream, 2 do
    if stream[at] == 'last-generated-id' then newest = stream[at + 1] end
  end
end
local function whole(number) return string.format('%.0f', number) end
return {has[1] or '', redis.call('HGET', KEYS[1], 'rev') or '0', whole(has[2]), day, month,
  whole(has[3]), whole(has[4]), whole(has[5]), newest}
