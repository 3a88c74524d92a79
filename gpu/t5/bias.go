package t5

import "math"

// bucket maps a distance (key position − query position) to a row of the learned table: the first half of the buckets are exact,
// the rest grow logarithmically to maxDistance, and everything beyond shares the last. Looking both ways, half of the
// buckets are for keys to the right; looking back only, those share bucket 0. (Raffel et al. 2020, section 2.1;
// T5Attention._relative_position_bucket, whose f32 arithmetic decides at bucket edges.)
func bucket(distance int, bidirectional bool, buckets, maxDistance int) int {
	first := 0
	if bidirectional {
		buckets /= 2
		if distance > 0 {
			first = buckets
		}
		distance = max(distance, -distance)
	} else {
		distance = max(0, -distance)
	}
	exact := buckets / 2
	if distance < exact {
		return first + distance
	}
	ratio := float32(math.Log(float64(float32(distance) / float32(exact))))
	large := exact + int(ratio/float32(math.Log(float64(maxDistance)/float64(exact)))*float32(buckets-exact))
	return first + min(large, buckets-1)
}

// biasByDistance expands the learned table [buckets, heads] to one row per distance, −(longest−1) to longest−1, so that backends
// need not know about buckets. The row of distance 0 is longest−1.
func biasByDistance(table []float32, heads, longest int, bidirectional bool, buckets, maxDistance int) []float32 {
	rows := make([]float32, 0, (2*longest-1)*heads)
	for distance := 1 - longest; distance < longest; distance++ {
		b := bucket(distance, bidirectional, buckets, maxDistance)
		rows = append(rows, table[b*heads:(b+1)*heads]...)
	}
	return rows
}
