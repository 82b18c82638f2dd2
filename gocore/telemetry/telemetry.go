// Package telemetry is one engine's Prometheus registry: every counter and gauge the engine offers, with its names and
// labels in one place (docs/metrics.md is checked against it). It is read through te_engine_query("metrics") and
// engine.metrics(); nothing listens on a port.
package telemetry

import (
	"bytes"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Metrics are an engine's own; two engines of one process do not share them.
type Metrics struct {
	registry *prometheus.Registry

	Batches         *prometheus.CounterVec // op, outcome
	Requests        *prometheus.CounterVec // op, outcome
	Bytes           *prometheus.CounterVec // op, path
	Errors          *prometheus.CounterVec // code
	PostRetries     prometheus.Counter
	BatchSeconds    *prometheus.HistogramVec // op
	PathsOpened     *prometheus.CounterVec   // kind
	PathsClosed     *prometheus.CounterVec   // kind, cause
	Sessions        *prometheus.CounterVec   // event
	Adoptions       *prometheus.CounterVec   // result
	Refreshes       *prometheus.CounterVec   // why
	Drops           *prometheus.CounterVec   // cause
	Drains          *prometheus.CounterVec   // result
	DrainSeconds    prometheus.Histogram
	DrainPeers      *prometheus.CounterVec // answer
	Retires         *prometheus.CounterVec // event
	Publishes       prometheus.Counter
	Notifications   *prometheus.CounterVec // direction
	TransportEvents *prometheus.CounterVec // transport, event
	StoreRequests   *prometheus.CounterVec // op, result
	Ownership       *prometheus.CounterVec // event
	Names           *prometheus.CounterVec // event
}

// Gauges are read when metrics are asked for.
type Gauges struct {
	Registrations, Grants, RegisteredBytes, Peers, LiveSessions, Paths, InboundConnections func() float64
	LiveBatches, QueuedRequests, Holders, DrainsRunning, OffHeapBytes                      func() float64
}

// New makes the registry of one engine.
func New(g Gauges) *Metrics {
	r := prometheus.NewRegistry()
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "mooncake_te", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	seconds := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Namespace: "mooncake_te", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(20e-6, 4, 12), // 20 us .. 84 s
		}
	}
	gauge := func(name, help string, read func() float64) {
		if read == nil {
			read = func() float64 { return 0 }
		}
		r.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "mooncake_te", Name: name, Help: help}, read))
	}
	m := &Metrics{
		registry:        r,
		Batches:         counter("batches_total", "Batches that became final.", "op", "outcome"),
		Requests:        counter("requests_total", "Transfer requests that became final.", "op", "outcome"),
		Bytes:           counter("bytes_total", "Payload bytes of completed slices, by the kind of path that carried them.", "op", "path"),
		Errors:          counter("errors_total", "Batches that did not complete, by cause.", "code"),
		PostRetries:     counter("post_retries_total", "Posts that were sent again after their path was lost.").WithLabelValues(),
		PathsOpened:     counter("paths_opened_total", "Data paths to peers that came up.", "kind"),
		PathsClosed:     counter("paths_closed_total", "Data paths to peers that ended.", "kind", "cause"),
		Sessions:        counter("sessions_total", "Control sessions by event: up, replaced, down.", "event"),
		Adoptions:       counter("descriptor_adoptions_total", "Descriptors by result: adopted, older, invalid.", "result"),
		Refreshes:       counter("descriptor_refreshes_total", "Descriptor fetches by reason.", "why"),
		Drops:           counter("invalidations_total", "What a peer's change made stale was dropped, by cause.", "cause"),
		Drains:          counter("drains_total", "Drains by result: ok, quarantined.", "result"),
		DrainPeers:      counter("drain_peers_total", "Holders asked by drains, by answer: acknowledged, fenced, timed_out.", "answer"),
		Retires:         counter("retires_total", "Paths retired: asked (as initiator), answered (as target).", "event"),
		Publishes:       counter("publishes_total", "Published changes of this engine's metadata.").WithLabelValues(),
		Notifications:   counter("notifications_total", "Notifications: sent, received, dropped.", "direction"),
		StoreRequests:   counter("store_requests_total", "Requests to the metadata store by operation and result.", "op", "result"),
		Ownership:       counter("ownership_total", "Ownership of this engine's segment name in the store, by event.", "event"),
		Names:           counter("names_total", "What was learned of names of other segments, by event.", "event"),
		TransportEvents: counter("transport_events_total", "Events inside a transport, such as refused tokens and checksum errors.", "transport", "event"),
	}
	m.BatchSeconds = prometheus.NewHistogramVec(seconds("batch_seconds", "From submit to final."), []string{"op"})
	m.DrainSeconds = prometheus.NewHistogram(seconds("drain_seconds", "From the start of a drain to its end."))
	r.MustRegister(m.BatchSeconds, m.DrainSeconds)

	gauge("registrations", "Registrations alive.", g.Registrations)
	gauge("grants", "Grants alive, those of plain registrations included.", g.Grants)
	gauge("registered_bytes", "Bytes registered; overlapping registrations count each.", g.RegisteredBytes)
	gauge("peers", "Peer instances known.", g.Peers)
	gauge("sessions_live", "Live control sessions.", g.LiveSessions)
	gauge("paths", "Live data paths to peers.", g.Paths)
	gauge("inbound_connections", "Live data connections of peers to this engine.", g.InboundConnections)
	gauge("batches_live", "Batches that are not final.", g.LiveBatches)
	gauge("requests_queued", "Transfer requests of batches that are not final.", g.QueuedRequests)
	gauge("holders", "Peer instances that have access to this engine's memory.", g.Holders)
	gauge("drains_running", "Drains under way.", g.DrainsRunning)
	gauge("off_heap_bytes", "Memory of the engine outside the Go heap.", g.OffHeapBytes)
	return m
}

// Text renders everything in the Prometheus text format.
func (m *Metrics) Text() ([]byte, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return nil, fmt.Errorf("render metric %s: %w", f.GetName(), err)
		}
	}
	return b.Bytes(), nil
}

// Registry gives tests and embedding programs the registry itself.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }
