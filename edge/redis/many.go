package redis

import "context"

// GetMany returns the results of keys, nil where there is none, in one question to Redis.
func (c *Cache) GetMany(ctx context.Context, keys []Key) [][]byte {
	values := make([][]byte, len(keys))
	if len(keys) == 0 {
		return values
	}
	fields := make([]string, len(keys))
	for i := range keys {
		fields[i] = string(keys[i][:])
	}
	c.ask(ctx, func(ctx context.Context) error {
		stored, err := c.client.pool.HMGet(ctx, cacheValues, fields...).Result()
		for i := range stored {
			if text, ok := stored[i].(string); ok {
				values[i], _ = fresh([]byte(text))
			}
		}
		return err
	})
	for _, v := range values {
		if v != nil {
			c.hits.Add(1)
		} else {
			c.misses.Add(1)
		}
	}
	return values
}
