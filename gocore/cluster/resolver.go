package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// ResolverConfig configures a Resolver. All but the durations is required.
type ResolverConfig[B any] struct {
	Store   store.Store
	Random  func() uint64
	Now     func() types.Time // BootTime
	SoftTTL time.Duration
	NoCache bool
	Timeout time.Duration // of one request to the store
	// Bind reaches exactly the instance of a head and adopts its descriptor. What it returns is handed to Adopted, or to
	// Void if the name leads elsewhere by then.
	Bind        func(ctx context.Context, head *descriptor.Head) (B, error)
	BindTimeout time.Duration
	// Adopted: the name leads to this instance from here on; bound is nil when it led there before.
	Adopted func(name string, instance types.InstanceID, bound *B)
	Void    func(bound B)
	// Own is the name whose records are of interest although nobody opens it; Owned and Seen get what a watch says.
	Own    string
	Owned  func(coherence.StoreRecord)
	Seen   func(storeID string, revision uint64)
	Logger *slog.Logger
	// Requested counts requests to the store, Event what was learned of names.
	Requested func(op string, err error)
	Event     func(event string)
}

// Resolver follows the names that this engine opened: where each leads, proven how recently, by whom.
//
// The engine's callbacks run one after the other, in the order of the decisions, in a goroutine of the resolver that holds
// none of its locks. An answer to a caller comes after every callback that led to it.
type Resolver[B any] struct {
	cfg ResolverConfig[B]
	lane
	machine *coherence.Directory
	caps    coherence.StoreCaps
	tickets map[uint64]chan coherence.DirAnswer
	bound   map[string]B     // by names whose Bound is being fed
	causes  map[string]error // why the last request about an open name failed
	out     []func()
	kick    chan struct{}
}

// NewResolver makes a resolver and starts watching the store.
func NewResolver[B any](cfg ResolverConfig[B]) *Resolver[B] {
	r := &Resolver[B]{
		cfg: cfg,
		machine: coherence.NewDirectory(coherence.DirectoryConfig{
			Random: cfg.Random, SoftTTL: types.Time(cfg.SoftTTL), NoCache: cfg.NoCache, Epochs: capsOf(cfg.Store).Epochs,
		}),
		caps:    capsOf(cfg.Store),
		tickets: map[uint64]chan coherence.DirAnswer{},
		bound:   map[string]B{},
		causes:  map[string]error{},
		kick:    make(chan struct{}, 1),
	}
	r.init(cfg.Now, cfg.Timeout, cfg.Requested, func() {
		r.feed(func(now types.Time) []coherence.Action { return r.machine.Tick(now) })
	})
	if s, ok := cfg.Store.(store.Interested); ok {
		s.Interest(r.interest)
	}
	r.work.Go(r.deliver)
	r.work.Go(r.watch)
	return r
}

// interest names what a store that cannot list names has to be asked for.
func (r *Resolver[B]) interest() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := r.machine.OpenNames()
	if r.cfg.Own != "" {
		names = append(names, r.cfg.Own)
	}
	return names
}

// Open takes a reference on a name and waits until it leads to an instance that answers. Without an error it must be given
// back by Close. While the name is not there, or its instance does not answer, it is waited for until ctx ends.
func (r *Resolver[B]) Open(ctx context.Context, name string, noCache bool) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errcode.New(errcode.Closed, "open segment", "the engine is closed")
	}
	ticket, acts := r.machine.Open(r.now(), name, coherence.OpenOptions{NoCache: noCache, Patient: true})
	answer := r.await(ticket)
	r.run(acts)
	r.mu.Unlock()
	err := r.answer(ctx, name, ticket, answer)
	if err != nil {
		r.Close(name)
	}
	return err
}

// OpenFresh takes a reference if the name is known and fresh. It does no I/O and allocates nothing.
func (r *Resolver[B]) OpenFresh(name string) (types.InstanceID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return types.InstanceID{}, false
	}
	return r.machine.OpenFresh(r.now(), name)
}

// Refresh reads the record of an open name anew and follows it.
func (r *Resolver[B]) Refresh(ctx context.Context, name string) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errcode.New(errcode.Closed, "refresh segment", "the engine is closed")
	}
	ticket, acts := r.machine.Refresh(r.now(), name)
	answer := r.await(ticket)
	r.run(acts)
	r.mu.Unlock()
	return r.answer(ctx, name, ticket, answer)
}

// Sync reads all open names anew. The map has every one of them, with its error.
func (r *Resolver[B]) Sync(ctx context.Context) map[string]error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	tickets, acts := r.machine.Sync(r.now())
	answers := make([]chan coherence.DirAnswer, len(tickets))
	for i, t := range tickets {
		answers[i] = r.await(t.Ticket)
	}
	r.run(acts)
	r.mu.Unlock()
	out := make(map[string]error, len(tickets))
	for i, t := range tickets {
		out[t.Name] = r.answer(ctx, t.Name, t.Ticket, answers[i])
	}
	return out
}

// Close gives a reference back.
func (r *Resolver[B]) Close(name string) {
	r.feed(func(now types.Time) []coherence.Action { return r.machine.Close(now, name) })
}

// Lookup says where an open name leads for a new operation; it starts a refresh when that is old.
func (r *Resolver[B]) Lookup(name string) (id types.InstanceID, code errcode.Code) {
	r.feed(func(now types.Time) (acts []coherence.Action) {
		id, code, acts = r.machine.Lookup(now, name)
		return acts
	})
	return id, code
}

// Heartbeat is a sign of life on the session with an instance and what it says to own.
func (r *Resolver[B]) Heartbeat(instance types.InstanceID, storeID string, epoch uint64) {
	r.feed(func(now types.Time) []coherence.Action { return r.machine.Heartbeat(now, instance, storeID, epoch) })
}

// Stale says that an instance is suspect: it answered as another one, or does not answer.
func (r *Resolver[B]) Stale(instance types.InstanceID, why string) {
	r.feed(func(now types.Time) []coherence.Action { return r.machine.StaleInstance(now, instance, why) })
}

// Unbound says that the record of an instance was given up: what leads there must be bound anew.
func (r *Resolver[B]) Unbound(instance types.InstanceID, why string) {
	r.feed(func(now types.Time) []coherence.Action { return r.machine.Unbound(now, instance, why) })
}

// Shut ends everything; callers that wait get CLOSED.
func (r *Resolver[B]) Shut() {
	r.mu.Lock()
	r.closed = true
	for ticket, c := range r.tickets {
		c <- coherence.DirAnswer{Ticket: ticket, Code: errcode.Closed, Detail: "the engine was closed"}
	}
	clear(r.tickets)
	r.mu.Unlock()
	r.stop()
}

func (r *Resolver[B]) await(ticket uint64) chan coherence.DirAnswer {
	c := make(chan coherence.DirAnswer, 1)
	r.tickets[ticket] = c
	return c
}

// answer waits for a ticket's answer and makes it an error.
func (r *Resolver[B]) answer(ctx context.Context, name string, ticket uint64, answer chan coherence.DirAnswer) error {
	var a coherence.DirAnswer
	select {
	case a = <-answer:
	case <-ctx.Done():
		r.mu.Lock()
		delete(r.tickets, ticket)
		if !r.closed {
			a.Code, a.Detail = r.why(name)
			r.run(r.machine.Abandon(r.now(), name, ticket))
		}
		r.mu.Unlock()
		if a.Code == errcode.OK {
			a.Code, a.Detail = errcode.Deadline, "no answer in time"
		}
	}
	if a.Code == errcode.OK {
		return nil
	}
	r.mu.Lock()
	cause := r.causes[name]
	r.mu.Unlock()
	return r.explain(name, a, cause)
}

// why is what stands in the way of a name at present. Callers hold mu.
func (r *Resolver[B]) why(name string) (errcode.Code, string) {
	for _, s := range r.machine.Names(r.now()) {
		switch {
		case s.Name != name:
		case s.Code == errcode.StaleInstance: // another one has its address now; nobody has a handle that could be stale
			return errcode.PeerUnreachable, s.Detail
		case s.Code != errcode.OK:
			return s.Code, s.Detail
		case s.Binding:
			return errcode.PeerUnreachable, "its engine has not answered yet"
		default:
			return errcode.MetadataUnavailable, "the store has not answered yet"
		}
	}
	return errcode.OK, ""
}

// explain says what was wrong with a name, and what to do.
func (r *Resolver[B]) explain(name string, a coherence.DirAnswer, cause error) error {
	url := r.cfg.Store.Info().URL
	var typed *errcode.Error
	if errors.As(cause, &typed) && (typed.Code == a.Code || a.Code == errcode.MetadataInvalid && typed.Code == errcode.VersionSkew) {
		out := *typed
		out.Op, out.Segment = "open segment", name
		return &out
	}
	err := errcode.New(a.Code, "open segment", fmt.Sprintf("%q in %s: %s", name, url, a.Detail))
	if cause != nil && codeOf(cause) == a.Code { // else it is of something that stood in the way before
		err = err.Wrap(cause)
	}
	err.Segment = name
	switch a.Code {
	case errcode.SegmentNotFound:
		err.Hint = "check the name, the cluster ID and that its engine was given the same metadata store"
	case errcode.SegmentGone:
		err.Hint = "its engine was closed or died; refresh once it is back"
	case errcode.MetadataUnavailable:
		err.Hint = "check that the store runs and can be reached from here; live sessions go on without it"
	case errcode.PeerUnreachable, errcode.PeerDead, errcode.Deadline:
		err.Hint = "check that the peer runs, and that the addresses it advertises can be reached from here"
	}
	return err
}

func (r *Resolver[B]) feed(event func(now types.Time) []coherence.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.run(event(r.now()))
	}
}

// run carries actions out. Callers hold mu.
func (r *Resolver[B]) run(acts []coherence.Action) {
	for _, act := range acts {
		r.apply(act)
	}
	at, wanted := r.machine.NextWake()
	r.arm(at, wanted)
}

func (r *Resolver[B]) apply(act coherence.Action) {
	switch act := act.(type) {
	case coherence.DirGet:
		r.get(act)
	case coherence.DirBind:
		r.bind(act)
	case coherence.DirAdopted:
		r.adopted(act)
	case coherence.DirAnswer:
		r.say(func() {
			r.mu.Lock()
			c := r.tickets[act.Ticket]
			delete(r.tickets, act.Ticket)
			r.mu.Unlock()
			if c != nil {
				c <- act
			}
		})
	case coherence.DirGone:
		r.cfg.Event("gone")
		r.cfg.Logger.Info("a segment is gone from the metadata store; sessions with it go on", "segment", act.Name)
	case coherence.StoreRemake:
		r.remake(act)
	case coherence.StoreWentBack:
		if act.From == "" && act.To != "" {
			return // it was empty, and got its first ID
		}
		r.cfg.Event("store_went_back")
		r.cfg.Logger.Warn("the metadata store is another one or went back; names are looked up anew",
			"store", r.cfg.Store.Info().URL, "from", act.From, "to", act.To, "revision", act.Revision)
	}
}

func (r *Resolver[B]) adopted(act coherence.DirAdopted) {
	event := "adopted"
	if !act.From.IsZero() && act.From != act.Instance {
		event = "replaced"
	}
	r.cfg.Event(event)
	r.cfg.Logger.Info("segment "+event, "segment", act.Name, "instance", act.Instance.Short(), "from", act.From.Short(),
		"epoch", act.Epoch, "version", act.Version, "source", act.Source)
	var bound *B
	if b, ok := r.bound[act.Name]; ok {
		delete(r.bound, act.Name)
		bound = &b
	}
	delete(r.causes, act.Name)
	r.say(func() { r.cfg.Adopted(act.Name, act.Instance, bound) })
}

// say puts a callback in line. Callers hold mu.
func (r *Resolver[B]) say(f func()) {
	r.out = append(r.out, f)
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// deliver runs callbacks in order until the resolver is shut.
func (r *Resolver[B]) deliver() {
	for {
		select {
		case <-r.kick:
		case <-r.ctx.Done():
			return
		}
		for {
			r.mu.Lock()
			if len(r.out) == 0 {
				r.out = nil
				r.mu.Unlock()
				break
			}
			f := r.out[0]
			r.out[0] = nil
			r.out = r.out[1:]
			r.mu.Unlock()
			f()
		}
	}
}
