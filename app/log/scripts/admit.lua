-- Admission in one step: have we had this before, may it come in now, and if so onto the log with it.
-- KEYS: commands, request, open, idempotency, retry (these two are the request's own key where not wanted), holds,
--       requests of the day (the request's own key where there is no limit), then the key of each pace, then of each purse
-- ARGV: request, account, envelope, type, message,
--       requests open at once (0: no limit), requests a day (0: no limit),
--       idempotency digest ('': none), its seconds to live, retry ('', 'note' or 'attach'), its seconds to live,
--       prefix of request keys, how many paces, how many purses,
--       tokens reserved ('0': none; otherwise the last pace is theirs), nano-dollars reserved,
--       for each pace: interval in µs, burst, cost; for each purse: the most in a day, in a month, ever ('': no bound);
--       then the fields of the request
-- → {'accepted', left of the day or -1, then for each pace: left, µs until it is whole again}
--   | {'same', request} | {'mismatch'} | {'busy', open} | {'day'}
--   | {'rate', which pace, µs to wait, left, µs until whole} | {'unknown', which purse}
--   | {'spent', which purse, 'day', 'month' or 'ever', spent, held}
local request, account, prefix = ARGV[1], ARGV[2], ARGV[12]

if ARGV[8] ~= '' then
  local known = redis.call('HMGET', KEYS[4], 'request', 'digest')
  if known[1] then
    if known[2] ~= ARGV[8] then return {'mismatch'} end
    if redis.call('EXISTS', prefix .. known[1]) == 1 then redis.call('HSET', prefix .. known[1], 'attached', '1') end
    return {'same', known[1]}
  end
end

if ARGV[10] == 'attach' then
  local known = redis.call('GET', KEYS[5])
  if known then
    local is = redis.call('HMGET', prefix .. known, 'state', 'cancel')
    if is[1] and is[1] ~= 'failed' and is[1] ~= 'cancelled' and not is[2] then
      redis.call('HSET', prefix .. known, 'attached', '1')
      return {'same', known}
    end
  end
end

local paces, purses = tonumber(ARGV[13]), tonumber(ARGV[14])
local day_max = tonumber(ARGV[7])
local seconds, now
if paces + purses + day_max > 0 then
  local time = redis.call('TIME')
  seconds, now = tonumber(time[1]), time[1] * 1000000 + time[2]
end

local said, tats = {'accepted', -1}, {}
for pace = 1, paces do
  local at = 14 + pace * 3
  local interval, burst, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local before = math.max(tonumber(redis.call('GET', KEYS[7 + pace]) or '0'), now)
  local tat = before + interval * cost
  -- Half a microsecond: an interval need not be a whole number of them.
  local over = tat - now - interval * burst
  if over > 0.5 then
    local left = math.max(0, math.floor((interval * burst - (before - now)) / interval + 0.001))
    return {'rate', pace, math.ceil(over), left, math.ceil(before - now)}
  end
  tats[pace] = tat
  said[#said + 1] = math.max(0, math.floor(-over / interval + 0.001))
  said[#said + 1] = math.ceil(tat - now)
end

if day_max > 0 then
  local asked = tonumber(redis.call('GET', KEYS[7]) or '0')
  if asked >= day_max then return {'day'} end
  said[2] = day_max - asked - 1
end

local open_max = tonumber(ARGV[6])
if open_max > 0 then
  local open = redis.call('ZCARD', KEYS[3])
  if open >= open_max then return {'busy', open} end
end

local first = 16 + paces * 3
if purses > 0 then
  local names = {'day', 'month', 'ever'}
  local reserve, day, month = tonumber(ARGV[16]), calendar(seconds)
  for each = 1, purses do
    local has = purse(KEYS[7 + paces + each], day, month)
    if not has[1] then return {'unknown', each} end
    for period = 1, 3 do
      local most = ARGV[first + (each - 1) * 3 + period]
      if most ~= '' and has[2 + period] + has[2] + reserve > tonumber(most) then
        return {'spent', each, names[period], string.format('%.0f', has[2 + period]), string.format('%.0f', has[2])}
      end
    end
  end
end

local holding = purses > 0 or ARGV[15] ~= '0'
local entry
if holding then
  -- The worker sees by the entry that the end has something to settle.
  entry = redis.call('XADD', KEYS[1], '*', '__data__', ARGV[3], 'type', ARGV[4], 'id', ARGV[5], 'held', '1')
  local hold = {account, entry, ARGV[16], ARGV[15], '0', '-'}
  if ARGV[15] ~= '0' then hold[5], hold[6] = ARGV[14 + paces * 3], KEYS[7 + paces] end
  for each = 1, purses do
    local key = KEYS[7 + paces + each]
    redis.call('HINCRBY', key, 'held', ARGV[16])
    hold[#hold + 1] = key
  end
  redis.call('HSET', KEYS[6], request, table.concat(hold, ' '))
else
  entry = redis.call('XADD', KEYS[1], '*', '__data__', ARGV[3], 'type', ARGV[4], 'id', ARGV[5])
end
for pace = 1, paces do
  redis.call('SET', KEYS[7 + pace], string.format('%.0f', tats[pace]), 'PX', math.ceil((tats[pace] - now) / 1000) + 1)
end
if day_max > 0 and redis.call('INCR', KEYS[7]) == 1 then
  redis.call('EXPIREAT', KEYS[7], (math.floor(seconds / 86400) + 1) * 86400)
end
redis.call('ZADD', KEYS[3], 'NX', entry:match('^%d+'), request)
redis.call('HSET', KEYS[2], 'account', account, 'state', 'queued', 'command', entry,
  unpack(ARGV, first + purses * 3 + 1))
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[4], 'request', request, 'digest', ARGV[8])
  redis.call('EXPIRE', KEYS[4], ARGV[9])
end
if ARGV[10] ~= '' then redis.call('SET', KEYS[5], request, 'EX', ARGV[11]) end
return said
