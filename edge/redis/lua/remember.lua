-- Remembers one result, and forgets the expired and then the oldest until the bound holds.
-- KEYS  values: hash of key to expiry and result; order: list of expiry and key, the oldest first
-- ARGV  key, its expiry (milliseconds since 1970, always of the same length), value, now (likewise), most bytes of all, bytes counted
--       for an entry beyond its value
-- An entry that is set anew stands twice in the list; the first is known by its expiry, and ignored. The sum of bytes, in which every
-- place in the list counts, lives in the hash too, under a name that no key of 32 bytes has, so that it cannot outlive what it counts.
local values, order = KEYS[1], KEYS[2]
local key, expiry, value, now, most, overhead = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

if redis.call('EXISTS', order) == 0 then -- without it nothing in the hash could ever be forgotten
  redis.call('UNLINK', values)
end
local replaced = redis.call('HSTRLEN', values, key)
redis.call('HSET', values, key, expiry .. value)
redis.call('RPUSH', order, expiry .. key)
local bytes = redis.call('HINCRBY', values, 'bytes', #expiry + #value + overhead - replaced)

for _ = 1, 1000 do -- at once; the next call goes on
  local oldest = redis.call('LINDEX', order, 0)
  if not oldest or bytes <= most and (tonumber(string.sub(oldest, 1, #expiry)) or 0) > tonumber(now) then break end
  redis.call('LPOP', order)
  local freed, old = overhead, string.sub(oldest, #expiry + 1)
  local stored = redis.call('HGET', values, old)
  if stored and string.sub(stored, 1, #expiry) == string.sub(oldest, 1, #expiry) then
    redis.call('HDEL', values, old)
    freed = freed + #stored
  end
  bytes = redis.call('HINCRBY', values, 'bytes', -freed)
end
return bytes
