-- Admission in one step: have we had this before, may it come in now, and if so onto the log with it.
-- KEYS: commands, request, open, rate, idempotency, retry (the last two are the request's own key where not wanted)
-- ARGV: request, account, envelope, type, message,
--       rate interval in µs (0: no limit), burst, requests open at once (0: no limit),
--       idempotency digest ('': none), its seconds to live, retry ('', 'note' or 'attach'), its seconds to live,
--       prefix of request keys, then the fields of the request
-- → {'accepted', remaining, µs until the limit is whole again} | {'same', request} | {'mismatch'}
--   | {'rate', µs to wait, µs until whole} | {'busy', open}
local request, account = ARGV[1], ARGV[2]
local prefix = ARGV[13]

if ARGV[9] ~= '' then
  local known = redis.call('HMGET', KEYS[5], 'request', 'digest')
  if known[1] then
    if known[2] ~= ARGV[9] then return {'mismatch'} end
    if redis.call('EXISTS', prefix .. known[1]) == 1 then redis.call('HSET', prefix .. known[1], 'attached', '1') end
    return {'same', known[1]}
  end
end

if ARGV[11] == 'attach' then
  local known = redis.call('GET', KEYS[6])
  if known then
    local is = redis.call('HMGET', prefix .. known, 'state', 'cancel')
    if is[1] and is[1] ~= 'failed' and is[1] ~= 'cancelled' and not is[2] then
      redis.call('HSET', prefix .. known, 'attached', '1')
      return {'same', known}
    end
  end
end

local interval, burst = tonumber(ARGV[6]), tonumber(ARGV[7])
local remaining, whole = -1, 0
local tat
if interval > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  tat = math.max(tonumber(redis.call('GET', KEYS[4]) or '0'), now) + interval
  local over = tat - now - interval * burst
  if over > 0 then return {'rate', over, tat - interval - now} end
  whole = tat - now
  remaining = math.floor((interval * burst - whole) / interval)
end

local open_max = tonumber(ARGV[8])
if open_max > 0 then
  local open = redis.call('ZCARD', KEYS[3])
  if open >= open_max then return {'busy', open} end
end

local entry = redis.call('XADD', KEYS[1], '*', '__data__', ARGV[3], 'type', ARGV[4], 'id', ARGV[5])
if tat then redis.call('SET', KEYS[4], string.format('%.0f', tat), 'PX', math.ceil(whole / 1000) + 1) end
redis.call('ZADD', KEYS[3], 'NX', entry:match('^%d+'), request)
redis.call('HSET', KEYS[2], 'account', account, 'state', 'queued', 'command', entry, unpack(ARGV, 14))
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[5], 'request', request, 'digest', ARGV[9])
  redis.call('EXPIRE', KEYS[5], ARGV[10])
end
if ARGV[11] ~= '' then redis.call('SET', KEYS[6], request, 'EX', ARGV[12]) end
return {'accepted', remaining, whole}
