-- Puts a job into the queue unless it is there.
-- KEYS  the stream; hash of job to its entry in the stream
-- ARGV  the group, the job
-- Returns 1 if it was put there, 0 if it already was. An entry counts only if it is the job's and will be delivered: one that was, and is
-- no longer pending, has been lost with a part of the stream's state, and is replaced. An entry of another job has the id because a
-- stream that is lost and made anew within a millisecond gives its ids again.
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0-0', 'MKSTREAM') -- fails if it exists

local function later(a, b) -- of two ids "milliseconds-number"
  local ams, an = string.match(a, '(%d+)%-(%d+)')
  local bms, bn = string.match(b, '(%d+)%-(%d+)')
  if ams ~= bms then return tonumber(ams) > tonumber(bms) end
  return tonumber(an) > tonumber(bn)
end

local function ours(entry)
  local found = redis.call('XRANGE', KEYS[1], entry, entry)
  return #found > 0 and found[1][2][2] == ARGV[2]
end

local function awaited(entry)
  if #redis.call('XPENDING', KEYS[1], ARGV[1], entry, entry, 1) > 0 then return true end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local field = {}
    for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
    if field['name'] == ARGV[1] then return later(entry, field['last-delivered-id']) end
  end
  return false
end

local entry = redis.call('HGET', KEYS[2], ARGV[2])
if entry and ours(entry) then
  if awaited(entry) then return 0 end
  redis.call('XDEL', KEYS[1], entry)
end
redis.call('HSET', KEYS[2], ARGV[2], redis.call('XADD', KEYS[1], '*', 'job', ARGV[2]))
return 1
