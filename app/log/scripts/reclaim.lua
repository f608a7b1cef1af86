-- Take over what its owner has not renewed for one lease, or what this consumer left behind in its former life.
-- KEYS: commands;  ARGV: group, consumer, idle ms it takes, most, '1': only this consumer's own, where to begin
-- → {entries, how many were gone from the log, the last id looked at or ''}, an entry being {id, deliveries, fields}
local taken, gone, last = {}, 0, ''
local function take(id)
  local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
  if entry and entry[2] then
    taken[#taken + 1] = {id, redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1][4], entry[2]}
  else
    gone = gone + 1
  end
end
local whose = ARGV[5] == '1' and {ARGV[2]} or {}
local idle = ARGV[5] == '1' and 0 or ARGV[3]
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', idle, ARGV[6], '+', ARGV[4], unpack(whose))) do
  last = pending[1]
  take(last)
end
return {taken, gone, last}
