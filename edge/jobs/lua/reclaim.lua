-- Takes over the oldest delivery whose worker has been silent. XAUTOCLAIM would do, but it looks at ten entries for each that it may
-- take, does not count for us, and needs its cursor carried along.
-- KEYS  the stream
-- ARGV  the group, the worker, milliseconds of silence
-- Returns the entry, its job and how often it was delivered, this time included; nothing if nobody is silent.
for _, silent in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 10)) do
  local entry = silent[1]
  local found = redis.call('XRANGE', KEYS[1], entry, entry)
  if #found == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], entry) -- deleted by someone else
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry, 'RETRYCOUNT', silent[4] + 1, 'JUSTID')
    return {entry, found[1][2][2], silent[4] + 1}
  end
end
return {}
