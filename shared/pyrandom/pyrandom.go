// Package pyrandom draws what Python draws: random.Random(seed) of CPython 3.11 for integer seeds, so that a choice made by
// a Python program can be made again. Not for secrets.
package pyrandom

import (
	"fmt"
	"math"
	"math/bits"
)

// Sizes and constants of MT19937 (Matsumoto and Nishimura 1998).
const (
	size      = 624
	middle    = 397
	upperMask = 0x80000000
	lowerMask = 0x7fffffff
	matrix    = 0x9908b0df
)

// Random is the Mersenne Twister as Python seeds and reads it. It is not safe for concurrent use.
type Random struct {
	state [size]uint32
	next  int // index of the first number not yet drawn
}

// New is random.Random(seed). As in Python, seed and -seed draw the same.
func New(seed int64) *Random {
	magnitude := uint64(seed)
	if seed < 0 {
		magnitude = -magnitude
	}
	key := []uint32{uint32(magnitude)}
	if high := uint32(magnitude >> 32); high != 0 {
		key = append(key, high)
	}
	r := &Random{}
	r.seedByArray(key)
	return r
}

// seedByArray is init_by_array of the 2002 reference implementation.
func (r *Random) seedByArray(key []uint32) {
	s := &r.state
	s[0] = 19650218
	for i := 1; i < size; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	step := func(factor uint32) {
		s[i] ^= (s[i-1] ^ s[i-1]>>30) * factor
	}
	advance := func() {
		if i++; i == size {
			s[0], i = s[size-1], 1
		}
	}
	for range max(size, len(key)) {
		step(1664525)
		s[i] += key[j] + uint32(j)
		advance()
		j = (j + 1) % len(key)
	}
	for range size - 1 {
		step(1566083941)
		s[i] -= uint32(i)
		advance()
	}
	s[0] = upperMask
	r.next = size
}

// twist makes the next 624 numbers.
func (r *Random) twist() {
	s := &r.state
	for i := range size {
		y := s[i]&upperMask | s[(i+1)%size]&lowerMask
		s[i] = s[(i+middle)%size] ^ y>>1 ^ (y&1)*matrix
	}
	r.next = 0
}

func (r *Random) uint32() uint32 {
	if r.next == size {
		r.twist()
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Random is random(): uniform in [0, 1), of 53 bits.
func (r *Random) Random() float64 {
	high, low := r.uint32()>>5, r.uint32()>>6
	return (float64(high)*(1<<26) + float64(low)) / (1 << 53)
}

// GetRandBits is getrandbits(k): uniform in [0, 2^k). k must be between 0 and 64.
func (r *Random) GetRandBits(k int) uint64 {
	switch {
	case k < 0 || k > 64:
		panic(fmt.Sprintf("pyrandom: %d bits", k))
	case k == 0:
		return 0
	case k <= 32:
		return uint64(r.uint32() >> (32 - k))
	}
	low := uint64(r.uint32())
	return uint64(r.uint32()>>(64-k))<<32 | low
}

// RandBelow is randrange(n): uniform in [0, n). n must be positive.
func (r *Random) RandBelow(n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("pyrandom: nothing is below %d", n))
	}
	k := bits.Len(uint(n)) // not of n-1: Python asks for a bit more than it needs when n is a power of two
	for {
		if v := r.GetRandBits(k); v < uint64(n) {
			return int(v)
		}
	}
}

// Sample is sample(range(n), k): k different numbers below n, in the order drawn. It panics unless 0 ≤ k ≤ n.
func (r *Random) Sample(n, k int) []int {
	if k < 0 || k > n {
		panic(fmt.Sprintf("pyrandom: a sample of %d from %d", k, n))
	}
	// Python picks the algorithm, and with it the numbers, by what its list and its set would weigh.
	setSize := 21
	if k > 5 {
		setSize += 1 << (2 * int(math.Ceil(math.Log(float64(k*3))/math.Log(4))))
	}
	if n <= setSize {
		return r.sampleFromPool(n, k)
	}
	chosen := make([]int, k)
	seen := make(map[int]bool, k)
	for i := range chosen {
		j := r.RandBelow(n)
		for seen[j] {
			j = r.RandBelow(n)
		}
		seen[j] = true
		chosen[i] = j
	}
	return chosen
}

func (r *Random) sampleFromPool(n, k int) []int {
	pool := make([]int, n)
	for i := range pool {
		pool[i] = i
	}
	chosen := make([]int, k)
	for i := range chosen {
		j := r.RandBelow(n - i)
		chosen[i] = pool[j]
		pool[j] = pool[n-i-1]
	}
	return chosen
}

// Shuffle is shuffle() of n elements that swap exchanges.
func (r *Random) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, r.RandBelow(i+1))
	}
}
