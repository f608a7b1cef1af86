-- How a request stands. That a worker has taken it up is known from the pending list, so nobody needs to write it down.
-- KEYS: request, commands;  ARGV: group
-- → the fields of the request, one after the other
local fields = redis.call('HGETALL', KEYS[1])
local at, command = nil, nil
for i = 1, #fields, 2 do
  if fields[i] == 'state' then at = i + 1 end
  if fields[i] == 'command' then command = fields[i + 1] end
end
if at and fields[at] == 'queued' then
  -- A group that was lost is an error here, and holds nothing: the next worker makes it anew.
  local pending = redis.pcall('XPENDING', KEYS[2], ARGV[1], command, command, 1)
  if not pending.err and #pending > 0 then fields[at] = 'running' end
end
return fields
