package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
	"mooncake_te/gocore/telemetry"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Info is who this engine is and where it can be reached.
type Info struct {
	Instance      string   `json:"instance"`
	Name          string   `json:"name"`
	Addresses     []string `json:"addresses"`
	DataAddresses []string `json:"data_addresses"`
	Metadata      string   `json:"metadata"` // "p2p", or the store's URL without its password
}

// Info never changes during an engine's life.
func (e *Engine) Info() Info {
	return Info{Instance: e.instance.String(), Name: e.cfg.Name, Addresses: e.addresses(), DataAddresses: e.server.Addresses(), Metadata: e.metadataURL()}
}

func (e *Engine) addresses() []string { return e.node.Addresses() }

// Status is everything worth looking at, for people and for engine.status().
type Status struct {
	Info
	UptimeS       float64                     `json:"uptime_s"`
	Version       types.Version               `json:"version,string"`
	Published     types.Version               `json:"published,string"`
	Floor         types.Version               `json:"floor,string"`
	Closing       bool                        `json:"closing"`
	LiveBatches   int                         `json:"live_batches"`
	Queued        int                         `json:"queued_requests"`
	AllocatedB    uint64                      `json:"allocated_bytes"`
	Owner         snake[coherence.OwnerStats] `json:"owner"`
	Holders       []string                    `json:"holders"`
	Buffers       []BufferStatus              `json:"buffers"`
	Peers         []PeerStatus                `json:"peers"`
	Segments      []SegmentStatus             `json:"segments"`
	FaultHandler  string                      `json:"fault_handler"`
	Metadata      MetadataStatus              `json:"metadata_store"`
	Configuration any                         `json:"configuration"`
}

// BufferStatus is one registration of this engine.
type BufferStatus struct {
	ID       types.BufferID `json:"id,string"`
	Length   uint64         `json:"length"`
	Remote   string         `json:"remote"`
	Perm     string         `json:"perm"`
	State    string         `json:"state"`
	Label    string         `json:"label"`
	LocalOps uint64         `json:"local_operations"`
}

// PeerStatus is one peer instance.
type PeerStatus struct {
	Instance   string                     `json:"instance"`
	Name       string                     `json:"name"`
	Addresses  []string                   `json:"addresses"`
	Session    string                     `json:"session"`
	HeardMS    float64                    `json:"heard_ms_ago"`
	Batches    int                        `json:"live_batches"`
	WritesHeld bool                       `json:"writes_held"`
	Ended      string                     `json:"ended,omitempty"`
	LastError  string                     `json:"last_error,omitempty"`
	View       snake[coherence.ViewStats] `json:"view"`
	Paths      []transport.PathInfo       `json:"paths"`
}

// SegmentStatus is one open handle.
type SegmentStatus struct {
	ID       types.SegmentID `json:"id,string"`
	Name     string          `json:"name"`
	Instance string          `json:"instance"`
}

// maxListed bounds lists in the status document.
const maxListed = 1000

// StatusJSON renders Status.
func (e *Engine) StatusJSON() ([]byte, error) { return json.Marshal(e.Status()) }

// Status is a snapshot, of one part after the other.
func (e *Engine) Status() Status {
	s := Status{Info: e.Info(), UptimeS: time.Since(e.started).Seconds(), FaultHandler: faultHandlerState()}
	redacted := e.cfg
	if redacted.PSK != "" {
		redacted.PSK = "(set)"
	}
	if redacted.MetadataToken != "" {
		redacted.MetadataToken = "(set)"
	}
	if e.meta != nil {
		redacted.Metadata = e.metadataURL()
	}
	s.Metadata = e.metadataStatus()
	s.Configuration = redacted

	m := e.memory
	m.mu.Lock()
	s.Version, s.Published, s.Floor = m.owner.Version(), m.owner.Published(), m.owner.Floor(types.InstanceID{})
	s.Owner = snake[coherence.OwnerStats]{m.owner.Stats()}
	s.Holders = names(m.owner.Holders())
	m.mu.Unlock()
	s.Buffers = m.status()

	e.batchMu.Lock()
	s.LiveBatches, s.Queued = len(e.batches), e.queued
	e.batchMu.Unlock()
	s.AllocatedB = e.arena.Used()

	e.mu.Lock()
	s.Closing = e.closing
	peers := make([]*peer, 0, len(e.peers))
	for _, p := range e.peers {
		peers = append(peers, p)
	}
	s.Segments = []SegmentStatus{}
	for _, seg := range e.segments {
		s.Segments = append(s.Segments, SegmentStatus{ID: seg.id, Name: seg.name, Instance: seg.peer.instance.String()})
	}
	e.mu.Unlock()
	slices.SortFunc(s.Segments, func(a, b SegmentStatus) int { return int(a.ID) - int(b.ID) })
	s.Peers = []PeerStatus{}
	for _, p := range peers {
		s.Peers = append(s.Peers, p.status())
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return strings.Compare(a.Instance, b.Instance) })
	return s
}

func (m *memory) status() []BufferStatus {
	out := []BufferStatus{}
	for _, id := range m.registrationIDs() {
		if len(out) == maxListed {
			break
		}
		r, ok := m.registration(id)
		if !ok {
			continue
		}
		state := types.Ready
		if r.local.Closed() {
			state = types.Draining
		}
		out = append(out, BufferStatus{
			ID: id, Length: r.length, Remote: r.remote.String(), Perm: r.perm.String(), State: state.String(),
			Label: r.label, LocalOps: r.local.Count(),
		})
	}
	return out
}

func (p *peer) status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PeerStatus{
		Instance: p.instance.String(), Name: p.name, Addresses: p.addrs, Session: "none", Batches: len(p.live),
		WritesHeld: p.view.WritesHeld(), View: snake[coherence.ViewStats]{p.view.Stats()}, Paths: []transport.PathInfo{},
	}
	if p.session != nil {
		s.Session = "live"
		s.HeardMS = float64(time.Since(p.session.LastHeard()).Microseconds()) / 1e3
	}
	if p.endErr != nil {
		s.Ended = p.endErr.Error()
	}
	if p.lastErr != nil {
		s.LastError = p.lastErr.Error()
	}
	for _, ps := range p.paths {
		s.Paths = append(s.Paths, ps.path.Info())
	}
	return s
}

// MetricsText renders all metrics in the Prometheus text format.
func (e *Engine) MetricsText() ([]byte, error) { return e.metrics.Text() }

func (e *Engine) gauges() telemetry.Gauges {
	m := e.memory
	ownerStat := func(read func(coherence.OwnerStats) int) func() float64 {
		return func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(read(m.owner.Stats()))
		}
	}
	locked := func(read func() int) func() float64 {
		return func() float64 {
			e.mu.Lock()
			defer e.mu.Unlock()
			return float64(read())
		}
	}
	return telemetry.Gauges{
		Registrations:   func() float64 { return float64(m.regCount.Load()) },
		Grants:          func() float64 { return float64(m.grantCount.Load()) },
		RegisteredBytes: func() float64 { return float64(m.bytes.Load()) },
		Peers:           locked(func() int { return len(e.peers) }),
		LiveSessions: func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(len(m.sessions))
		},
		InboundConnections: func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(len(m.conns))
		},
		Paths: func() float64 {
			n := 0
			e.pathPeers.Range(func(_, _ any) bool { n++; return true })
			return float64(n)
		},
		LiveBatches:    func() float64 { e.batchMu.Lock(); defer e.batchMu.Unlock(); return float64(len(e.batches)) },
		QueuedRequests: func() float64 { e.batchMu.Lock(); defer e.batchMu.Unlock(); return float64(e.queued) },
		Holders:        ownerStat(func(s coherence.OwnerStats) int { return s.Holders }),
		DrainsRunning:  ownerStat(func(s coherence.OwnerStats) int { return s.DrainsRunning }),
		OffHeapBytes:   func() float64 { return float64(e.arena.Used() + e.status.arena.Used()) },
	}
}

// Allocate gives page-aligned zeroed memory of the engine; it is mapped until Free or Destroy.
func (e *Engine) Allocate(n uint64) (uint64, error) {
	if err := e.usable("allocate memory"); err != nil {
		return 0, err
	}
	return e.arena.Allocate(n)
}

// Free gives memory of Allocate back; also after Close.
func (e *Engine) Free(addr uint64) error {
	size := e.arena.Size(addr)
	inUse := types.BufferID(0)
	e.memory.registrations.Range(func(k, v any) bool {
		r := v.(*registration)
		if size > 0 && r.addr < addr+size && addr < r.addr+r.length {
			inUse = k.(types.BufferID)
			return false
		}
		return true
	})
	if inUse != 0 {
		return e.errorf(errcode.InvalidArgument, "free memory", "buffer %d is still registered over it", inUse).WithHint("close the buffer first")
	}
	return e.arena.Free(addr)
}

// dataListenFrom puts the data port on the host of the control port, any port.
func dataListenFrom(listen string) (string, error) {
	a, err := netaddr.Parse(listen)
	if err != nil {
		return "", err
	}
	return a.WithPort(0).String(), nil
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
