package redis_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/redis/redistest"
)

// BenchmarkCache asks for a cached result among 20,000, beside one bare command, and remembers further ones.
func BenchmarkCache(b *testing.B) {
	for name, url := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "embedded:" },
		"server":   func(t testing.TB) string { return redistest.Start(t).URL() },
	} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			client := redistest.Open(b, url(b))
			c := redis.NewCache(client, redis.CacheOptions{})
			key := func(i int) redis.Key { return redis.KeyOf(strconv.Itoa(i)) }
			value := make([]byte, 200)
			const n = 20_000
			for i := range n {
				c.Set(ctx, key(i), value)
			}
			if err := client.Pool().Set(ctx, "bare", value, 0).Err(); err != nil {
				b.Fatal(err)
			}
			b.Run("bare", func(b *testing.B) {
				for b.Loop() {
					if err := client.Pool().Get(ctx, "bare").Err(); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("get", func(b *testing.B) {
				for b.Loop() {
					if _, ok := c.Get(ctx, key(n-1)); !ok {
						b.Fatal("forgotten")
					}
				}
			})
			b.Run("set", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					c.Set(ctx, key(n+i), value)
				}
			})
			if s := c.Stats(); s.Failures > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}
