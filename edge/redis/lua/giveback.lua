-- Gives back an amount of a quota, once for each reservation.
-- KEYS  what is used of it; a mark that this reservation was given back
-- ARGV  the amount, milliseconds that the mark is kept
-- Returns what is used now, in a list like reserve.lua's.
local used = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
if used == 0 or not redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[2]) then
  return {used}
end
used = math.max(0, used - tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%.0f', used), 'KEEPTTL')
return {used}
