package control

import (
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// The protocol versions that this build speaks, first and last.
const (
	ProtocolMin uint32 = 1
	ProtocolMax uint32 = 1
)

const (
	describeTimeout = 30 * time.Second // for one Describe, on both sides, where the caller gives no deadline
	minPSK          = 16               // bytes; shorter keys can be guessed from one captured HELLO
)

// Config is what a Node is made from. Zero values mean the defaults named here.
type Config struct {
	Instance types.InstanceID // required
	Name     string           // label shown to peers
	// Listen is "host:port" (0: any free port) or "host:lo-hi" (the first free port). Default "127.0.0.1:0".
	Listen string
	// Advertise lists the control addresses that peers are told, at most 64; one without a port gets the bound port.
	// Default: the bound address. Required when Listen is a wildcard.
	Advertise []string
	// DataAddresses gives the data ports for HELLO at the time of the call; nil: none.
	DataAddresses func() []string
	Heartbeat     time.Duration // default 1 s; a session is dead after 3 without a word
	DialTimeout   time.Duration // default 3 s; one attempt, until the session is chosen
	PSK           []byte        // optional pre-shared key, at least 16 bytes
	TLS           *TLSConfig    // optional mutual TLS
	MaxSessions   int           // default 4096, those still shaking hands included
	// MaxQueuedBytes caps what waits to be sent on one session; beyond it the session ends with RESOURCE_EXHAUSTED.
	// Default 64 MiB.
	MaxQueuedBytes int
	Handler        Handler      // required
	Logger         *slog.Logger // default: slog.Default()
	// Greeting gives what HELLO and HEARTBEAT carry for this peer; zero stands for a peer not known yet. Called with
	// no lock held; must not block. nil: zeros.
	Greeting func(peer types.InstanceID) Greeting

	// What tests change.
	protocolMin, protocolMax uint32
	missed                   int           // 3 heartbeats in a row without a word: the session is dead
	helloTimeout             time.Duration // 5 s: a caller that has not said (and proved) who it is by then is cut off
}

// Greeting is what a session's signs of life carry: how new this side's metadata is, and under what it owns its name in a
// store (no epoch and no store ID: it owns none).
type Greeting struct {
	Version, Floor types.Version
	Epoch          uint64
	StoreID        string
}

// Handler takes what happens. Calls for one peer are serial and in order; see the package comment.
type Handler interface {
	// SessionUp: both HELLOs are in and this session was chosen. If it replaces another session of the same peer, no
	// SessionDown comes for that one. It comes before any Event of it, and before Dial returns it.
	SessionUp(s Session, hello *controlpb.Hello)
	// Event is never a HELLO, AUTH, REFUSED, PING, PONG or BYE. The event belongs to the handler from here on.
	Event(s Session, ev *controlpb.Event)
	// SessionDown: the chosen session ended and nothing replaced it. CLOSED: this side ended it, or the peer said BYE
	// because it closes; PEER_DEAD: it broke off or fell silent.
	SessionDown(s Session, err error)
	// Describe returns an immutable descriptor for the caller, or nil while there is none (the engine is closing).
	Describe(caller types.InstanceID) *descriptor.Descriptor
}

func (c Config) withDefaults() (Config, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	setDefault(&c.Heartbeat, time.Second)
	setDefault(&c.DialTimeout, 3*time.Second)
	setDefault(&c.MaxSessions, 4096)
	setDefault(&c.MaxQueuedBytes, 64<<20)
	setDefault(&c.missed, 3)
	setDefault(&c.helloTimeout, 5*time.Second)
	setDefault(&c.protocolMin, ProtocolMin)
	setDefault(&c.protocolMax, ProtocolMax)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Greeting == nil {
		c.Greeting = func(types.InstanceID) Greeting { return Greeting{} }
	}
	if c.DataAddresses == nil {
		c.DataAddresses = func() []string { return nil }
	}
	switch {
	case c.Instance.IsZero():
		return c, invalid("Instance is zero; draw one with types.NewInstanceID")
	case c.Handler == nil:
		return c, invalid("Handler is nil")
	case len(c.Name) > descriptor.MaxNameLen:
		return c, invalid(fmt.Sprintf("Name has %d bytes, more than %d", len(c.Name), descriptor.MaxNameLen))
	case !utf8.ValidString(c.Name):
		return c, invalid(fmt.Sprintf("Name %q is not UTF-8", c.Name))
	case c.Heartbeat < 0 || c.DialTimeout < 0 || c.MaxSessions < 0 || c.MaxQueuedBytes < 0:
		return c, invalid("Heartbeat, DialTimeout, MaxSessions and MaxQueuedBytes must not be negative")
	case len(c.Advertise) > descriptor.MaxAddresses:
		return c, invalid(fmt.Sprintf("Advertise has %d addresses, more than %d", len(c.Advertise), descriptor.MaxAddresses))
	case len(c.PSK) > 0 && len(c.PSK) < minPSK:
		return c, invalid(fmt.Sprintf("PSK has %d bytes, fewer than %d", len(c.PSK), minPSK))
	}
	return c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func invalid(detail string) error {
	return errcode.New(errcode.InvalidArgument, "start control channel", detail)
}
