// Package jobs hands out compositions to workers.
//
// The queue is a hint. Which worker runs a job is decided by its lease in SQL, whose fence refuses the writes of every earlier one; the
// queue only tells workers of jobs without their asking SQL all the time. So it may lose anything at any time: a sweep puts what SQL says
// is waiting back into it.
//
// It is a Redis stream with a consumer group. asynq was the other choice: it keeps a running task in a list and its lease in a set beside
// it, its recovery reads the set alone, and when errors of Redis part the two, the task stays active for good and its ID cannot be
// enqueued again (reported in hibiken/asynq as issues 1051 and 1144, open in v0.26). Here an entry and who has it are one structure, and
// enqueueing checks that the entry it finds will be delivered.
package jobs

import (
	"context"
	_ "embed"
	"errors"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/shared/fault"
)

const (
	stream  = redis.Prefix + "jobs"
	entries = redis.Prefix + "jobs:entries"
	group   = "workers"

	patience = 5 * time.Second // with one question to Redis
	// slice bounds one blocking read: go-redis cannot interrupt it, and between two of them silent workers are looked for.
	slice = time.Second
)

//go:embed lua/enqueue.lua
var enqueueText string

//go:embed lua/reclaim.lua
var reclaimText string

//go:embed lua/extend.lua
var extendText string

//go:embed lua/ack.lua
var ackText string

//go:embed lua/tidy.lua
var tidyText string

var (
	enqueue = goredis.NewScript(enqueueText)
	reclaim = goredis.NewScript(reclaimText)
	extend  = goredis.NewScript(extendText)
	ack     = goredis.NewScript(ackText)
	tidy    = goredis.NewScript(tidyText)
)

// ErrLost says that a delivery was given to another worker, or that the queue forgot it. The job's lease in SQL says whether to go on.
var ErrLost = fault.New(fault.NotFound, "delivery", "is not this worker's any more")

// QueueOptions bound a queue; the zero value is a good one.
type QueueOptions struct {
	Silence time.Duration // after which a delivery that was not extended is given to another worker; default 30 s
	Poison  int64         // deliveries after which a job is reported as poison; default 5
}

// Queue hands out the ids of jobs. Every delivery ends with Ack, or is given out again.
type Queue struct {
	pool    *goredis.Client
	options QueueOptions
}

// Delivery is a job in a worker's hands.
type Delivery struct {
	Job    string
	Worker string
	Entry  string // in the stream
	Count  int64  // how often the job was delivered, this time included
	// Poison says that it was delivered too often: its workers died or went silent with it. It must not be run, but recorded as failed and
	// then acknowledged; until then it is delivered again and again.
	Poison bool
}

// NewQueue makes a queue in c. All queues of one Redis are one.
func NewQueue(c *redis.Client, options QueueOptions) *Queue {
	if options.Silence == 0 {
		options.Silence = 30 * time.Second
	}
	if options.Poison == 0 {
		options.Poison = 5
	}
	return &Queue{c.Pool(), options}
}

// Enqueue puts job into the queue, and returns whether it was not there already, waiting or delivered. The errors are fault.Invalid for
// an empty id, and those of redis.Failed.
func (q *Queue) Enqueue(ctx context.Context, job string) (added bool, err error) {
	if job == "" {
		return false, fault.New(fault.Invalid, "job", "must not be empty")
	}
	err = q.ask(ctx, func(ctx context.Context) error {
		added, err = enqueue.Run(ctx, q.pool, []string{stream, entries}, group, job).Bool()
		return err
	})
	return added, redis.Failed(err, "enqueueing a job")
}

// Claim waits for a job until wait is over (ok is false then), and no longer than about a second after ctx has ended. A delivery whose
// worker has been silent goes before a new one. The errors are those of redis.Failed: the worker waits a little and claims again.
func (q *Queue) Claim(ctx context.Context, worker string, wait time.Duration) (d Delivery, ok bool, err error) {
	for deadline := time.Now().Add(wait); ; {
		if d, ok, err = q.reclaim(ctx, worker); ok || err != nil {
			break
		}
		if d, ok, err = q.next(ctx, worker, min(slice, time.Until(deadline))); ok || err != nil {
			break
		}
		if err = ctx.Err(); err != nil || !time.Now().Before(deadline) {
			break
		}
	}
	if err != nil {
		return Delivery{}, false, redis.Failed(err, "claiming a job")
	}
	d.Worker, d.Poison = worker, d.Count > q.options.Poison
	return d, ok, nil
}

// reclaim takes over the delivery of a silent worker.
func (q *Queue) reclaim(ctx context.Context, worker string) (d Delivery, ok bool, err error) {
	err = q.ask(ctx, func(ctx context.Context) error {
		reply, err := reclaim.Run(ctx, q.pool, []string{stream}, group, worker, q.options.Silence.Milliseconds()).Slice()
		if err != nil || len(reply) == 0 {
			return err
		}
		d.Entry, _ = reply[0].(string)
		d.Job, _ = reply[1].(string)
		d.Count, ok = reply[2].(int64)
		return nil
	})
	return d, ok, err
}

// next reads a job that was never delivered, and waits for one if wait is positive.
func (q *Queue) next(ctx context.Context, worker string, wait time.Duration) (d Delivery, ok bool, err error) {
	block := max(wait, time.Millisecond) // 0 would wait for ever
	err = q.ask(ctx, func(ctx context.Context) error {
		read, err := q.pool.XReadGroup(ctx, &goredis.XReadGroupArgs{
			Group: group, Consumer: worker, Streams: []string{stream, ">"}, Count: 1, Block: block,
		}).Result()
		if errors.Is(err, goredis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range read {
			for _, message := range s.Messages {
				d.Job, ok = message.Values["job"].(string)
				d.Entry, d.Count = message.ID, 1
			}
		}
		return nil
	})
	return d, ok, err
}

// Extend says that the worker of d is alive; it is due well within Silence. It returns ErrLost if d is not the worker's any more, or an
// error of redis.Failed.
func (q *Queue) Extend(ctx context.Context, d Delivery) error {
	var held bool
	err := q.ask(ctx, func(ctx context.Context) (err error) {
		held, err = extend.Run(ctx, q.pool, []string{stream}, group, d.Worker, d.Entry, d.Count).Bool()
		return err
	})
	if err == nil && !held {
		return ErrLost
	}
	return redis.Failed(err, "extending a delivery")
}

// Ack takes the job of d out of the queue, for it has ended, or is not to be run. It is idempotent, and right for every holder of a
// delivery, also a former one.
func (q *Queue) Ack(ctx context.Context, d Delivery) error {
	err := q.ask(ctx, func(ctx context.Context) error {
		return ack.Run(ctx, q.pool, []string{stream, entries}, group, d.Entry, d.Job).Err()
	})
	return redis.Failed(err, "acknowledging a delivery")
}

// ask puts a question to Redis, and once more after mending what the first answer complained of: a group that is gone with its stream,
// or a key that holds what the queue did not put there.
func (q *Queue) ask(ctx context.Context, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := question(ctx)
	switch {
	case redis.WrongType(err):
		if err := q.pool.Unlink(ctx, stream, entries).Err(); err != nil {
			return err
		}
	case err == nil || !strings.Contains(err.Error(), "NOGROUP"):
		return err
	}
	// From the first entry on: what is in the stream has not been acknowledged.
	if err := q.pool.XGroupCreateMkStream(ctx, stream, group, "0-0").Err(); err != nil && !strings.Contains(err.Error(), "BUSYGROUP") {
		return err
	}
	return question(ctx)
}
