-- Appends an event to a composition's stream and tells the followers.
-- KEYS  the stream
-- ARGV  the channel, the event, most events to keep, milliseconds to keep the stream without a new one
-- Returns the event's id. The message carries the id of the event before it too, so that a follower sees whether it missed one.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], '*', 'event', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[1], (last and last[1] or '0-0') .. ' ' .. id .. ' ' .. ARGV[2])
return id
