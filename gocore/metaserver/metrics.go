package metaserver

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// metrics are a server's own; docs/metadata-server.md lists them (a test compares).
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // operation, status
	cut      *prometheus.CounterVec // reason
	watchers gauge
}

// gauge is a gauge that the server itself reads too.
type gauge struct{ n atomic.Int64 }

func (g *gauge) Inc() { g.n.Add(1) }
func (g *gauge) Dec() { g.n.Add(-1) }

func (m *metrics) watching() int64 { return m.watchers.n.Load() }

func newMetrics(s *Server) *metrics {
	const prefix = "mooncake_te_metadata"
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prefix, Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.requests = counter("requests_total", "Requests that were answered.", "operation", "status")
	m.cut = counter("watches_cut_total", "Watches that the server ended: slow, remade.", "reason")
	read := func(of func(t *table) float64) func() float64 {
		return func() float64 {
			s.table.mu.Lock()
			defer s.table.mu.Unlock()
			return of(s.table)
		}
	}
	for _, g := range []struct {
		name, help string
		read       func() float64
	}{
		{"watchers", "Watches under way.", func() float64 { return float64(m.watching()) }},
		{"connections", "Open connections.", func() float64 { return float64(s.listener.open.Load()) }},
		{"names", "Segment names.", read(func(t *table) float64 { return float64(t.names) })},
		{"leases", "Names that are owned.", read(func(t *table) float64 { return float64(len(t.leases)) })},
		{"stock_keys", "Keys of the stock layout.", read(func(t *table) float64 { return float64(len(t.values)) })},
		{"bytes", "Bytes held: heads, stock values, names and keys.", read(func(t *table) float64 { return float64(t.bytes) })},
		{"revision", "Changes since the start.", read(func(t *table) float64 { return float64(t.revision) })},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: prefix, Name: g.name, Help: g.help}, g.read))
	}
	for _, c := range []struct {
		name, help string
		read       func() float64
	}{
		{"leases_expired_total", "Leases that ran out.", read(func(t *table) float64 { return float64(t.expired) })},
		{"connections_refused_total", "Connections closed because there were too many.", func() float64 { return float64(s.listener.refused.Load()) }},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: prefix, Name: c.name, Help: c.help}, c.read))
	}
	return m
}

// count counts an operation's answers. A watch counts when it ends.
func (m *metrics) count(name string, do operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &answered{ResponseWriter: w, status: http.StatusOK}
		defer func() { m.requests.WithLabelValues(name, strconv.Itoa(seen.status)).Inc() }()
		do(seen, r)
	})
}

// answered remembers the status. Unwrap lets deadlines and flushes through.
type answered struct {
	http.ResponseWriter
	status int
}

func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (m *metrics) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		families, err := m.registry.Gather()
		var b bytes.Buffer
		encode := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
		for _, f := range families {
			if err == nil {
				err = encode.Encode(f)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		_, _ = w.Write(b.Bytes())
	})
}
