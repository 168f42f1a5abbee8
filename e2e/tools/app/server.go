package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type server struct {
	settings
	pod      string
	ready    atomic.Bool
	failures failures
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newServer(s settings) *server {
	pod, _ := os.Hostname()
	version := prometheus.Labels{"version": s.version}
	return &server{
		settings: s,
		pod:      pod,
		failures: failures{rate: s.errorRate},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered.", ConstLabels: version,
		}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time to an answer.", ConstLabels: version,
			Buckets: prometheus.DefBuckets,
		}),
	}
}

func (s *server) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.requests, s.seconds)
	// Without traffic a rate is 0. 500 has a series when it first happens, as in any application.
	s.requests.WithLabelValues("200")
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", s.answer)
	return mux
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	time.Sleep(s.latency)
	code := http.StatusOK
	if s.failures.next() {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Version", s.version)
	w.Header().Set("X-Pod", s.pod)
	w.WriteHeader(code)
	// Whoever went away does not read it.
	_ = json.NewEncoder(w).Encode(map[string]string{"version": s.version, "pod": s.pod, "path": r.URL.Path})
	s.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	s.seconds.Observe(time.Since(started).Seconds())
}

// failures spreads failed answers evenly, so that a share is met by every few requests and not only on average.
type failures struct {
	mutex sync.Mutex
	rate  float64
	owed  float64
}

func (f *failures) next() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.owed += f.rate
	// A little less than one, since 0.1 ten times is a little less than one.
	if f.owed < 1-1e-9 {
		return false
	}
	f.owed--
	return true
}
