-- What is kept at a place; where nothing is, who may go and find it.
-- KEYS: entry, lease, generation of the account, generation of the scope
-- ARGV: token, lease ms, oldest ms, a new generation, generation's ms,
--   'find' | 'anew': take no kept answer and wait for nobody | 'peek': never lead
-- → {generations, 'kept', sealed} | {generations, 'lead'} | {generations, 'wait', token of who leads} | {generations, 'none'}
local function said(reply, key)
  if type(reply) == 'table' and reply.err then -- not of our making
    redis.call('UNLINK', key)
    return nil
  end
  return reply or nil
end

local generations = ''
for at = 3, 4 do
  local known = said(redis.pcall('GET', KEYS[at]), KEYS[at])
  if not known then
    known = ARGV[4]
    redis.call('SET', KEYS[at], known, 'PX', ARGV[5])
  end
  generations = generations .. known .. ' '
end
if ARGV[6] == 'anew' then
  return {generations, 'lead'}
end

local entry = said(redis.pcall('HMGET', KEYS[1], 'generations', 'at_ms', 'sealed'), KEYS[1])
if entry and entry[1] == generations and entry[2] and entry[3] then
  local now = redis.call('TIME')
  local at_ms = tonumber(entry[2])
  if at_ms and now[1] * 1000 + math.floor(now[2] / 1000) - at_ms <= tonumber(ARGV[3]) then
    return {generations, 'kept', entry[3]}
  end
end

if ARGV[6] == 'peek' then
  return {generations, 'none'}
end

local leader = said(redis.pcall('GET', KEYS[2]), KEYS[2])
if leader then
  return {generations, 'wait', leader}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {generations, 'lead'}
