// Package engine composes everything below it into one engine: its life, memory that it registers, grants and drains,
// peers it opens, transfers it submits. Decisions are made by the pure machines of gocore/coherence; this package feeds
// them events and carries their actions out.
//
// # Concurrency
//
// Three kinds of lock: memory.mu (the Owner machine and what it speaks to) and peer.mu (one peer's View, scheduler, paths
// and transfers), neither taken while the other is held, and Engine.mu (tables of peers and segments), a leaf under them,
// so that one peer's work stops nobody else. batchMu and spawnMu are leaves too. Nothing blocks while holding one. One peer's lock is never taken for another peer's work.
//
// # Ownership
//
// The engine owns sockets, goroutines, status words and allocated memory. It never owns registered user memory: that is
// an address, used only under a gate, and the caller keeps it mapped until its drain ended.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/telemetry"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/tcp"
	"mooncake_te/gocore/types"
)

// Engine is one instance. Make it with New; all methods may be called from any goroutine.
type Engine struct {
	cfg      config.Config
	instance types.InstanceID
	log      *slog.Logger
	metrics  *telemetry.Metrics
	started  time.Time

	memory *memory
	ready  chan struct{} // closed once node is set: peers may call in before control.Start has returned
	node   *control.Node
	server *tcp.Server
	dialer *tcp.Dialer
	arena  *mem.Arena
	status *statusTable
	notify *notifications
	wake   *eventFD
	meta   *metadata // nil peer to peer

	postID    atomic.Uint64
	nextID    func() uint64 // of posts: postID.Add, made once because a method value is an allocation
	pathPeers sync.Map      // types.PathID -> *peer, from before the dial until PathDown

	mu       sync.Mutex
	closing  bool // no new calls
	ended    bool // everything was stopped
	peers    map[types.InstanceID]*peer
	graves   map[types.InstanceID][]types.PathID // of dead peers: paths that were never retired
	segments map[types.SegmentID]*segment
	lastSeg  types.SegmentID
	closed   *Task

	batchMu sync.Mutex         // a leaf: taken under any other lock, nothing is taken under it
	batches map[*Slot]struct{} // of batches that are not final
	queued  int                // requests of batches that are not final

	spawnMu    sync.Mutex // a leaf
	noSpawn    bool
	background sync.WaitGroup
	ctx        context.Context // ends with the engine
	cancel     context.CancelFunc
}

// New starts an engine: it binds its ports before it returns.
func New(cfg config.Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:      cfg,
		instance: types.NewInstanceID(),
		started:  time.Now(),
		ready:    make(chan struct{}),
		peers:    map[types.InstanceID]*peer{},
		graves:   map[types.InstanceID][]types.PathID{},
		segments: map[types.SegmentID]*segment{},
		batches:  map[*Slot]struct{}{},
	}
	e.nextID = func() uint64 { return e.postID.Add(1) }
	e.log = newLogger(cfg.LogLevel).With("engine", e.instance.Short())
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.start(); err != nil {
		e.stop()
		if e.wake != nil {
			e.wake.close()
		}
		return nil, err
	}
	e.warnFaultHandler()
	return e, nil
}

func (e *Engine) start() error {
	var err error
	if e.wake, err = newEventFD(); err != nil {
		return errcode.New(errcode.ResourceExhausted, "create engine", "no eventfd").Wrap(err)
	}
	if e.status, err = newStatusTable(); err != nil {
		return err
	}
	if err = e.openStore(); err != nil {
		return err
	}
	e.arena = mem.NewArena(uint64(e.cfg.MaxAllocatedBytes))
	e.notify = newNotifications(e.cfg.MaxNotifications)
	e.memory = newMemory(e)
	e.metrics = telemetry.New(e.gauges())

	dataListen := e.cfg.DataListen
	if dataListen == "" {
		if dataListen, err = dataListenFrom(e.cfg.Listen); err != nil {
			return err
		}
	}
	e.server, err = tcp.Listen(tcp.Config{
		Listen:     dataListen,
		Advertise:  e.cfg.DataAdvertise,
		ChunkBytes: e.cfg.ChunkBytes,
		MaxConns:   e.cfg.MaxInboundConns,
		Memory:     e.memory,
		Admission:  e.memory,
		Logger:     e.log,
		Counters:   transportCounters{e.metrics, "tcp"},
	})
	if err != nil {
		return err
	}
	e.dialer = tcp.NewDialer(tcp.DialerConfig{
		ChunkBytes:  e.cfg.ChunkBytes,
		DialTimeout: config.Millis(e.cfg.DialTimeoutMS),
		Sink:        e,
		Logger:      e.log,
		Counters:    transportCounters{e.metrics, "tcp"},
	})
	var tlsConfig *control.TLSConfig
	if e.cfg.TLSCert != "" {
		tlsConfig = &control.TLSConfig{CertFile: e.cfg.TLSCert, KeyFile: e.cfg.TLSKey, CAFile: e.cfg.TLSCA}
	}
	e.startMetadata() // before peers can greet us: what we tell them says under what we own our name
	e.node, err = control.Start(control.Config{
		Instance:      e.instance,
		Name:          e.cfg.Name,
		Listen:        e.cfg.Listen,
		Advertise:     e.cfg.Advertise,
		DataAddresses: e.server.Addresses,
		Heartbeat:     config.Millis(e.cfg.HeartbeatMS),
		DialTimeout:   config.Millis(e.cfg.DialTimeoutMS),
		PSK:           []byte(e.cfg.PSK),
		TLS:           tlsConfig,
		MaxSessions:   e.cfg.MaxSessions,
		Handler:       e,
		Logger:        e.log,
		Greeting:      e.memory.greeting,
	})
	close(e.ready)
	return err
}

// now is the Time axis of every pure machine of this engine.
func (e *Engine) now() types.Time { return types.Time(time.Since(e.started)) }

// spawn runs f in a goroutine that the end of the engine waits for. Once the engine has ended nothing is started any
// more; false says so.
func (e *Engine) spawn(f func()) bool {
	e.spawnMu.Lock()
	defer e.spawnMu.Unlock()
	if e.noSpawn {
		return false
	}
	e.background.Go(f)
	return true
}

// open reports whether new calls are taken.
func (e *Engine) usable(op string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return errcode.New(errcode.Closed, op, "the engine is closed").WithHint("make a new Engine")
	}
	return nil
}

// Close refuses new calls, drains every registration, ends what is under way and says goodbye. A second call returns
// the first one's task. drain < 0 means the engine's default.
func (e *Engine) Close(drain time.Duration) *Task {
	e.mu.Lock()
	if e.closed != nil {
		defer e.mu.Unlock()
		return e.closed
	}
	e.closing = true
	task := e.newTask()
	e.closed = task
	e.mu.Unlock()
	if drain < 0 {
		drain = config.Millis(e.cfg.DrainMS)
	}
	// Not spawned: stop waits for spawned goroutines, and this one calls stop.
	go func() {
		result, err := e.memory.drainAll(drain)
		e.cancelAll(errcode.Closed, "the engine was closed")
		e.awaitBatches(drain + closeGrace)
		e.stop()
		task.finish(result, err)
	}()
	return task
}

// closeGrace bounds how long closing waits for local quiet of cancelled batches beyond the drain.
const closeGrace = 2 * time.Second

// Destroy closes without waiting for peers and frees what Allocate gave and the status words of batches. It returns once
// nothing of the engine runs any more. Closing alone leaves both mapped, because the caller may still look at them.
func (e *Engine) Destroy() {
	task := e.Close(0)
	<-task.Done()
	e.arena.Close()
	e.status.close()
	e.wake.close() // not before: closing is awaited by it
}

func (e *Engine) cancelAll(code errcode.Code, detail string) {
	for _, b := range e.liveBatches() {
		b.cancel(code, detail)
		b.release(1)
	}
}

// liveBatches takes a reference to each; the caller releases them.
func (e *Engine) liveBatches() []*Slot {
	e.batchMu.Lock()
	defer e.batchMu.Unlock()
	out := make([]*Slot, 0, len(e.batches))
	for b := range e.batches {
		if b.life.enter(b.life.generation()) {
			out = append(out, b)
		}
	}
	return out
}

func (e *Engine) awaitBatches(within time.Duration) {
	until := time.Now().Add(within)
	for _, b := range e.liveBatches() {
		b.wait(time.Until(until))
		b.release(1)
	}
}

// stop ends sockets and goroutines; every path reports its posts, so every batch gets final.
func (e *Engine) stop() {
	e.mu.Lock()
	e.closing = true
	if e.ended {
		e.mu.Unlock()
		return
	}
	e.ended = true
	e.mu.Unlock()

	e.stopMetadata()
	if e.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := e.node.Close(ctx); err != nil {
			e.log.Debug("closing the control channel", "error", err)
		}
		cancel()
	}
	e.mu.Lock() // not before: until here names were bound and peers greeted us
	peers := make([]*peer, 0, len(e.peers))
	for _, p := range e.peers {
		peers = append(peers, p)
	}
	e.mu.Unlock()
	for _, p := range peers {
		p.end(errcode.Closed, "the engine was closed")
	}
	if e.server != nil {
		e.server.Close()
	}
	e.cancel()
	e.spawnMu.Lock()
	e.noSpawn = true
	e.spawnMu.Unlock()
	e.background.Wait()
	if e.memory != nil {
		e.memory.stop()
	}
}

// EventFD becomes readable when something armed got final.
func (e *Engine) EventFD() int { return e.wake.number() }

// transportCounters feeds a transport's counters into the registry.
type transportCounters struct {
	m    *telemetry.Metrics
	kind string
}

func (c transportCounters) Add(event string, n uint64) {
	c.m.TransportEvents.WithLabelValues(c.kind, event).Add(float64(n))
}

func (e *Engine) errorf(code errcode.Code, op, format string, args ...any) *errcode.Error {
	return errcode.New(code, op, fmt.Sprintf(format, args...))
}

var (
	_ control.Handler     = (*Engine)(nil)
	_ transport.Sink      = (*Engine)(nil)
	_ transport.Memory    = (*memory)(nil)
	_ transport.Admission = (*memory)(nil)
)
