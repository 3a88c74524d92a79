-- Takes an amount of a quota, if that much is left.
-- KEYS  what is used of it
-- ARGV  the quota, the amount, milliseconds after which the count may be forgotten
-- Returns whether it was taken, and what is used now.
local used = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
local amount = tonumber(ARGV[2])
if used + amount > tonumber(ARGV[1]) then
  return {0, used}
end
redis.call('SET', KEYS[1], string.format('%.0f', used + amount), 'PX', ARGV[3])
return {1, used + amount}
