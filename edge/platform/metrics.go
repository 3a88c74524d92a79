package platform

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// metrics are what Prometheus reads.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMetrics(p *Platform) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "medley_http_request_duration_seconds", Help: "Requests by operation and status.",
		Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 60, 600},
	}, []string{"operation", "status"})}
	counter := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		counter("medley_cache_hits_total", "Scores that were remembered.", p.Scores.hits),
		counter("medley_cache_misses_total", "Scores that were not remembered.", func() int64 { return p.Scores.Cache.Stats().Misses }),
		counter("medley_cache_shared_total", "Scores that another caller's evaluation gave.", func() int64 { return p.Scores.Cache.Stats().Shared }),
		counter("medley_cache_failures_total", "Questions to Redis that failed.", func() int64 { return p.Scores.Cache.Stats().Failures }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "medley_models_open", Help: "Models kept open for evaluations and generations."},
			func() float64 { return float64(p.pool.size()) }),
	)
	return m
}

// observe is told of every answer.
func (m *metrics) observe(operation string, status int, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
}

// WriteMetrics writes Prometheus's text format.
func (p *Platform) WriteMetrics(_ context.Context, w io.Writer) error {
	families, err := p.metrics.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}
