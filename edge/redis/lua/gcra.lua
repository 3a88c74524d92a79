-- The generic cell rate algorithm (ATM Forum, Traffic Management 4.0, 4.4.2, virtual scheduling), by the server's clock.
-- KEYS  the theoretical arrival time, in microseconds since 1970: when a bucket of all requests so far would have drained
-- ARGV  microseconds between requests at the sustained rate, requests of a burst, requests asked for
-- Returns whether they are allowed, requests that remain of the burst, microseconds until these could be tried again (0 if allowed),
-- microseconds until the whole burst is free again.
local interval, burst, asked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window = interval * burst
-- A time beyond a whole window from now is from before the clock jumped back.
local arrival = math.max(now, math.min(tonumber(redis.call('GET', KEYS[1]) or now) or now, now + window))
local next = arrival + interval * asked
if next > now + window then
  return {0, math.floor((now + window - arrival) / interval), next - window - now, arrival - now}
end
if asked > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
end
return {1, math.floor((now + window - next) / interval), 0, next - now}
