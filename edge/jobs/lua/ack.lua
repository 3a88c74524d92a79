-- Takes a job out of the queue, unless it was put there anew since. An entry of that id may be another job's: see enqueue.lua.
-- KEYS  the stream; hash of job to its entry in the stream
-- ARGV  the group, the entry, the job
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 or found[1][2][2] == ARGV[3] then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
end
if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[2] then
  redis.call('HDEL', KEYS[2], ARGV[3])
end
return 1
