package store

import "context"

// referring are the columns that name blobs. Empty text there is no name.
const referring = `SELECT digest FROM modules UNION SELECT digest FROM plugins UNION SELECT adapter AS digest FROM compositions
	UNION SELECT report AS digest FROM compositions`

// Digests lists the names of all blobs that records refer to, in order, at most MaxLimit of them and those after the one given.
func (s *Store) Digests(ctx context.Context, after string) ([]string, error) {
	digests, err := all(s.read(ctx), value[string], "SELECT digest FROM ("+referring+") AS named WHERE digest > $1 ORDER BY digest LIMIT $2", after, MaxLimit)
	return digests, failure(ctx, err)
}

// Referenced says whether a record refers to the blob of that name. A collector of garbage asks it just before it deletes: a list made
// earlier would not know of records made since.
func (s *Store) Referenced(ctx context.Context, digest string) (bool, error) {
	n, err := one(s.read(ctx), value[int64], `SELECT
		CASE WHEN EXISTS (SELECT 1 FROM modules WHERE digest = $1) OR EXISTS (SELECT 1 FROM plugins WHERE digest = $1)
			OR EXISTS (SELECT 1 FROM compositions WHERE adapter = $1 OR report = $1) THEN 1 ELSE 0 END`, digest)
	return n == 1, failure(ctx, err)
}
