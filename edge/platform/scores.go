package platform

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
)

// Scores remembers the scores of candidates by everything that determines them: the base's and the modules' contents, the method, what it
// is computed on, the examples and the weights. The same question is not evaluated twice, whoever asks it.
type Scores struct {
	Cache *redis.Cache
	Store *store.Store

	digests recently[string, string]          // of bases, by name
	near    recently[redis.Key, search.Score] // what is asked again and again does not cost a question to Redis each time
	found   atomic.Int64                      // how often something was near
}

// hits counts the scores that were remembered, near or in Redis.
func (s *Scores) hits() int64 { return s.found.Load() + s.Cache.Stats().Hits }

// maxNear is how many numbers a score may have that is kept near: maxRecent of them take 16 MiB.
const maxNear = 512

// Cached is model with its scores remembered. A base that is not recorded has no digest, and its scores are not remembered.
func (s *Scores) Cached(spec compute.Spec, model compute.Model) compute.Model {
	digest, ok := s.digests.get(spec.Base)
	if !ok {
		base, err := s.Store.BaseNamed(context.Background(), spec.Base)
		if err != nil {
			return model
		}
		digest = base.Digest
		s.digests.put(spec.Base, digest, time.Now().Add(recentTime))
	}
	return &remembering{Model: model, scores: s, model: []string{"score", digest, string(spec.Method), model.Backend()}, modules: spec.Modules}
}

// remembering is a model whose scores are remembered.
type remembering struct {
	compute.Model
	scores  *Scores
	model   []string
	modules []compute.Module
	about   func() ([sha256.Size]byte, error)      // if set, what aboutExamples says of the examples, which are always the same
	spend   func(ctx context.Context, n int) error // if set, is asked before n candidates are evaluated
}

// aboutExamples is what keys have of examples.
func aboutExamples(examples []task.Example) (sum [sha256.Size]byte, err error) {
	text, err := json.Marshal(examples)
	return sha256.Sum256(text), err
}

// Score looks candidates up and evaluates those that are not known. Each is a question of its own, so that callers of this process and of
// others who ask for one at the same time share one evaluation; the evaluator puts those that reach it at once into one batch.
func (r *remembering) Score(ctx context.Context, examples []task.Example, weights [][]float64) ([]search.Score, error) {
	keys, err := r.keys(examples, weights)
	if err != nil {
		return nil, err
	}
	scores := make([]search.Score, len(weights))
	missing := r.known(ctx, len(examples), keys, scores)
	if len(missing) == 0 {
		return scores, nil
	}
	if r.spend != nil {
		if err := r.spend(ctx, len(missing)); err != nil {
			return nil, err
		}
	}
	return scores, r.evaluate(ctx, examples, weights, keys, missing, scores)
}

// known fills in what this process or Redis remembers, and returns the places of the rest.
func (r *remembering) known(ctx context.Context, examples int, keys []redis.Key, scores []search.Score) (missing []int) {
	var far []int
	var asked []redis.Key
	for i, key := range keys {
		var ok bool
		if scores[i], ok = r.scores.near.get(key); !ok {
			far, asked = append(far, i), append(asked, key)
		}
	}
	r.scores.found.Add(int64(len(keys) - len(far)))
	for n, value := range r.scores.Cache.GetMany(ctx, asked) {
		i := far[n]
		if !decodeScore(value, examples, &scores[i]) {
			missing = append(missing, i)
		} else if len(scores[i].Examples)+len(scores[i].LogProbs) <= maxNear {
			r.scores.near.put(keys[i], scores[i], time.Now().Add(recentTime))
		}
	}
	return missing
}

// evaluate fills in what is missing.
func (r *remembering) evaluate(ctx context.Context, examples []task.Example, weights [][]float64, keys []redis.Key, missing []int, scores []search.Score) error {
	batch := &gathering{most: len(missing), run: func(ctx context.Context, some [][]float64) ([]search.Score, error) {
		return r.Model.Score(ctx, examples, some)
	}}
	all, ctx := errgroup.WithContext(ctx)
	for _, i := range missing {
		all.Go(func() error {
			value, _, err := r.scores.Cache.Do(ctx, keys[i], func(ctx context.Context) ([]byte, error) {
				score, err := batch.score(ctx, weights[i])
				return encodeScore(score), err
			})
			if err == nil && !decodeScore(value, len(examples), &scores[i]) {
				err = fault.New(fault.Internal, "", "a score is damaged")
			}
			return err
		})
	}
	return all.Wait()
}

// keys are the addresses of candidates' scores.
func (r *remembering) keys(examples []task.Example, weights [][]float64) ([]redis.Key, error) {
	about := r.about
	if about == nil {
		about = func() ([sha256.Size]byte, error) { return aboutExamples(examples) }
	}
	sum, err := about()
	text := string(sum[:])
	keys := make([]redis.Key, len(weights))
	for i, w := range weights {
		keys[i] = r.key(text, w)
	}
	return keys, err
}

// key is the address of a candidate's score. Modules of weight zero do not matter.
func (r *remembering) key(examples string, weights []float64) redis.Key {
	parts := append(make([]string, 0, len(r.model)+2+len(weights)), r.model...)
	parts = append(parts, examples)
	bits := make([]byte, 0, 8*len(weights))
	for i, w := range weights {
		if w != 0 && i < len(r.modules) {
			parts = append(parts, r.modules[i].Digest)
			bits = binary.BigEndian.AppendUint64(bits, math.Float64bits(w))
		}
	}
	return redis.KeyOf(append(parts, string(bits))...)
}

// encodeScore is a score but for its objective: the number of examples, then the loss, the examples' losses and the log-probabilities.
func encodeScore(s search.Score) []byte {
	data := binary.BigEndian.AppendUint32(nil, uint32(len(s.Examples))) //nolint:gosec // at most 1000 examples
	data = binary.BigEndian.AppendUint64(data, math.Float64bits(s.Loss))
	for _, list := range [][]float64{s.Examples, s.LogProbs} {
		for _, v := range list {
			data = binary.BigEndian.AppendUint64(data, math.Float64bits(v))
		}
	}
	return data
}

// decodeScore undoes encodeScore, and says whether data was such a thing for that many examples.
func decodeScore(data []byte, examples int, s *search.Score) bool {
	const head = 4 + 8
	if len(data) < head+8*examples || (len(data)-head)%8 != 0 || int(binary.BigEndian.Uint32(data)) != examples {
		return false
	}
	all := make([]float64, (len(data)-4)/8)
	for i := range all {
		all[i] = math.Float64frombits(binary.BigEndian.Uint64(data[4+8*i:]))
	}
	s.Loss, s.Examples, s.LogProbs = all[0], all[1:1+examples:1+examples], all[1+examples:]
	return true
}
