-- What admission, the end of a request and the sweeper share: it stands in front of each of their scripts.
-- A purse is what is spent on one subject: a hash of `known` (it was reckoned from the books), `rev` (counts the times it
-- was set right), `held`, `day` and `day_spent`, `month` and `month_spent`, `ever_spent`; money in nano-dollars.
-- A hold is what one request has reserved: 'account entry nanousd tokens interval pace purse…', '-' where there is no pace.

-- → number of the day since 1970, month as yyyymm, both UTC (Howard Hinnant's civil_from_days)
local function calendar(seconds)
  local day = math.floor(seconds / 86400)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local mp = math.floor((5 * of_year + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%.0f', day), string.format('%.0f', (year + era * 400 + (month <= 2 and 1 or 0)) * 100 + month)
end

-- → {known, held, spent in this day, in this month, ever}: numbers, but for `known`
local function purse(key, day, month)
  local has = redis.call('HMGET', key, 'known', 'held', 'day', 'day_spent', 'month', 'month_spent', 'ever_spent')
  return {
    has[1], tonumber(has[2] or '0'),
    has[3] == day and tonumber(has[4]) or 0, has[5] == month and tonumber(has[6]) or 0, tonumber(has[7] or '0')
  }
end

-- Add to what is spent in the day and in the month that is named, each begun anew when it is another than before.
-- `has`: the day and the month that the purse has now
local function spend(key, has, day, month, in_day, in_month, ever)
  if has[1] ~= day then redis.call('HSET', key, 'day', day, 'day_spent', '0') end
  if has[2] ~= month then redis.call('HSET', key, 'month', month, 'month_spent', '0') end
  redis.call('HINCRBY', key, 'day_spent', in_day)
  redis.call('HINCRBY', key, 'month_spent', in_month)
  redis.call('HINCRBY', key, 'ever_spent', ever)
end

-- A request is over: what it held is free again, what it came to is spent. Doing it again changes nothing.
-- `tokens`: what it used, or nothing where that is unknown. → whether it held anything
local function settle(holds, touched, request, nanousd, tokens)
  local hold = redis.call('HGET', holds, request)
  if not hold then return false end
  redis.call('HDEL', holds, request)
  local words = {}
  for word in hold:gmatch('%S+') do words[#words + 1] = word end
  local time = redis.call('TIME')
  if tokens and words[6] ~= '-' then
    local now = time[1] * 1000000 + time[2]
    local tat = math.max(tonumber(redis.call('GET', words[6]) or '0'), now)
    tat = tat + (tonumber(tokens) - tonumber(words[4])) * tonumber(words[5])
    if tat > now then
      redis.call('SET', words[6], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
    else
      redis.call('DEL', words[6])
    end
  end
  local day, month = calendar(tonumber(time[1]))
  for at = 7, #words do
    local key = words[at]
    if words[3] ~= '0' then redis.call('HINCRBY', key, 'held', '-' .. words[3]) end
    -- One that is not known is reckoned from the books, where this request stands by then.
    local has = redis.call('HMGET', key, 'day', 'month', 'known')
    if has[3] then
      spend(key, has, day, month, nanousd, nanousd, nanousd)
      redis.call('SADD', touched, key)
    end
  end
  return true
end
