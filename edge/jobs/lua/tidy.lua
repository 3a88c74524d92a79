-- Forgets workers that have nothing and have been away, in one step, for with a worker go its deliveries.
-- KEYS  the stream
-- ARGV  the group, milliseconds of absence
-- Returns how many.
local gone = 0
for _, worker in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local field = {}
  for i = 1, #worker, 2 do field[worker[i]] = worker[i + 1] end
  if field['pending'] == 0 and field['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], field['name'])
    gone = gone + 1
  end
end
return gone
