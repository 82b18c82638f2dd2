package tcp

import (
	"fmt"
	"log/slog"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
)

// Counters takes what happens here, by name (docs/metrics.md); nil is fine. It is not called for each request.
type Counters interface{ Add(name string, n uint64) }

// Names given to Counters.
const (
	CounterAccepted      = "connections_accepted"
	CounterDialled       = "connections_dialled"
	CounterRefusedLimit  = "connections_refused_limit"
	CounterRefusedToken  = "connections_refused_token"
	CounterRefusedFrame  = "connections_refused_frame"
	CounterClosed        = "connections_closed"
	CounterAcceptErrors  = "accept_errors"
	CounterRefusals      = "entries_refused"
	CounterChecksumFails = "checksum_failures"
	CounterMemoryFaults  = "memory_faults"
	CounterAborts        = "requests_aborted"
	CounterStaleInstance = "stale_instance"
)

// Keepalive says when a silent peer counts as dead.
type Keepalive struct {
	Idle     time.Duration // before the first probe; default 5 s
	Interval time.Duration // between probes; default 2 s
	Count    int           // probes without an answer; default 3
	// UserTimeout bounds how long sent bytes may stay unacknowledged, default 10 s (TCP_USER_TIMEOUT).
	UserTimeout time.Duration
}

func (k *Keepalive) setDefaults() {
	setDefault(&k.Idle, 5*time.Second)
	setDefault(&k.Interval, 2*time.Second)
	setDefault(&k.Count, 3)
	setDefault(&k.UserTimeout, 10*time.Second)
}

// Config is the server's. Zero means default.
type Config struct {
	// Listen is "host:port", port 0 for any, or "host:lo-hi" for the first free port of a range. Default "127.0.0.1:0".
	Listen string
	// Advertise is what Addresses tells peers; default the bound address.
	Advertise []string
	// ChunkBytes is the size of the chunks we send; default 512 KiB, from 64 KiB to 1 MiB. The payload of a READ goes in
	// chunks of this or what the request asks for, whichever is smaller.
	ChunkBytes int
	// MaxEntries bounds a request's table; default 65536.
	MaxEntries int
	// MaxConns bounds inbound connections; default 4096. Those beyond are closed at once.
	MaxConns int
	// MaxPendingHandshakes bounds those among them that have not sent a first header yet, default 256: beyond, the oldest
	// of them makes room.
	MaxPendingHandshakes int
	// HandshakeTimeout is what a connection has for its first header; default 5 s.
	HandshakeTimeout time.Duration
	// ProgressDeadline is how long a peer may make no progress in the middle of a request, for instance by never reading
	// what it asked for; default 10 s.
	ProgressDeadline time.Duration
	// IdleTimeout closes connections without a request; 0, the default, keeps them.
	IdleTimeout time.Duration
	// MaxSinkBytes bounds what is read and dropped of a WRITE that was refused, before the connection is cut instead;
	// default 64 MiB.
	MaxSinkBytes uint64
	Keepalive    Keepalive

	Memory    transport.Memory    // required
	Admission transport.Admission // required
	Logger    *slog.Logger        // default: discard
	Counters  Counters
}

// Bounds of ChunkBytes.
const (
	DefaultChunk = 512 << 10
	MinChunk     = 64 << 10
	MaxChunk     = 1 << 20
	// DefaultEntries is the default of MaxEntries.
	DefaultEntries = 1 << 16
)

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (c *Config) populate() error {
	setDefault(&c.Listen, "127.0.0.1:0")
	setDefault(&c.ChunkBytes, DefaultChunk)
	setDefault(&c.MaxEntries, DefaultEntries)
	setDefault(&c.MaxConns, 4096)
	setDefault(&c.MaxPendingHandshakes, 256)
	setDefault(&c.HandshakeTimeout, 5*time.Second)
	setDefault(&c.ProgressDeadline, 10*time.Second)
	setDefault(&c.MaxSinkBytes, 64<<20)
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	setDefault[Counters](&c.Counters, noCounters{})
	c.Keepalive.setDefaults()
	if c.Memory == nil || c.Admission == nil {
		return errcode.New(errcode.InvalidArgument, "configure tcp", "Memory and Admission must be set")
	}
	if c.MaxEntries < 1 || c.MaxConns < 1 || c.MaxPendingHandshakes < 1 {
		return errcode.New(errcode.InvalidArgument, "configure tcp",
			fmt.Sprintf("a limit below 1: %d entries, %d connections, %d handshakes", c.MaxEntries, c.MaxConns, c.MaxPendingHandshakes))
	}
	return checkChunk(c.ChunkBytes)
}

func checkChunk(n int) error {
	if n < MinChunk || n > MaxChunk {
		return errcode.New(errcode.InvalidArgument, "configure tcp", fmt.Sprintf("chunks of %d bytes", n)).
			WithHint(fmt.Sprintf("use %d to %d", MinChunk, MaxChunk))
	}
	return nil
}

// DialerConfig is the client's. Zero means default.
type DialerConfig struct {
	ChunkBytes  int           // of the payload of a WRITE, and the largest we take of a READ; as Config.ChunkBytes
	MaxEntries  int           // of one post; default 65536. A peer's own limit may be lower
	DialTimeout time.Duration // for one Dial, the first answer of the peer included; default 3 s
	Keepalive   Keepalive
	Sink        transport.Sink // required
	Logger      *slog.Logger
	Counters    Counters
}

func (c *DialerConfig) populate() error {
	setDefault(&c.ChunkBytes, DefaultChunk)
	setDefault(&c.MaxEntries, DefaultEntries)
	setDefault(&c.DialTimeout, 3*time.Second)
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	setDefault[Counters](&c.Counters, noCounters{})
	c.Keepalive.setDefaults()
	if c.Sink == nil {
		return errcode.New(errcode.InvalidArgument, "configure tcp", "Sink must be set")
	}
	return checkChunk(c.ChunkBytes)
}

type noCounters struct{}

func (noCounters) Add(string, uint64) {}
