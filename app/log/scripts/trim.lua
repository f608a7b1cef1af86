-- Take off the log what everybody has read, and write down how far: the server by itself remembers only single deletions.
-- KEYS: events;  ARGV: the newest entry that may go, most entries a call, then the groups that must be there
-- → {'trimmed', how many went} | {'missing', group} | {'behind', the log's last entry}: then nothing was touched
local function parts(id)
  local ms, number = id:match('^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end
local function before(one, other)
  local ms, number = parts(one)
  local other_ms, other_number = parts(other)
  return ms < other_ms or (ms == other_ms and number < other_number)
end
local function next_of(id)
  local ms, number = parts(id)
  return string.format('%.0f-%.0f', ms, number + 1)
end
local function last_before(id)
  local ms, number = parts(id)
  if number > 0 then return string.format('%.0f-%.0f', ms, number - 1) end
  return string.format('%.0f-18446744073709551615', ms - 1)
end
local function named(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end

local there = redis.call('EXISTS', KEYS[1]) == 1
local cut, groups = next_of(ARGV[1]), {}
for _, flat in ipairs(there and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}) do
  local group = named(flat)
  groups[group['name']] = true
  local needed = redis.call('XPENDING', KEYS[1], group['name'])[2] or next_of(group['last-delivered-id'])
  if before(needed, cut) then cut = needed end
end
for at = 3, #ARGV do
  if not groups[ARGV[at]] then return {'missing', ARGV[at]} end
end
local last = there and named(redis.call('XINFO', 'STREAM', KEYS[1]))['last-generated-id'] or '0-0'
if before(last, ARGV[1]) then return {'behind', last} end

-- Whole nodes of the stream only, which costs next to nothing; what is left of the last one goes with the next.
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', cut, 'LIMIT', ARGV[2])
if gone > 0 then
  local stream = named(redis.call('XINFO', 'STREAM', KEYS[1]))
  local first = stream['first-entry']
  local edge = last_before((first and before(first[1], cut)) and first[1] or cut)
  if before(stream['max-deleted-entry-id'], edge) then
    redis.call('XSETID', KEYS[1], last, 'ENTRIESADDED', stream['entries-added'], 'MAXDELETEDID', edge)
  end
end
return {'trimmed', gone}
