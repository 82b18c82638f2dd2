package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// Document is a segment's metadata as it goes into the store.
type Document struct {
	Version types.Version // that it carries: at least the one asked for
	Head    []byte
	Stock   []store.StockKey
}

// AnnouncerConfig configures an Announcer. All but the durations is required.
type AnnouncerConfig struct {
	Store      store.Store
	Name       string
	Instance   types.InstanceID
	Random     func() uint64
	Now        func() types.Time // BootTime
	TTL, Renew time.Duration
	Timeout    time.Duration // of one request
	// Render writes down what is published now, under this epoch and store ID.
	Render func(epoch uint64, storeID string) (Document, error)
	// RaiseVersion makes the owner's counter pass a version found in the store and returns the one published now.
	RaiseVersion func(above types.Version) types.Version
	Logger       *slog.Logger
	// Requested counts requests to the store, Event changes of the ownership.
	Requested func(op string, err error)
	Event     func(event string)
}

// Announcer keeps one segment name in a store and what is published under it up to date.
type Announcer struct {
	cfg AnnouncerConfig
	lane
	machine   *coherence.Publisher
	ownership store.Ownership // the last that the store gave
	waiters   []*claim
	lastErr   error                    // of the store, for claims that end without an answer
	state     coherence.OwnershipState // last told
	released  chan struct{}
}

// claim is a caller that waits for the name.
type claim struct {
	patience types.Time // how long another owner is waited for
	done     chan error
}

// NewAnnouncer makes an announcer that wants nothing yet.
func NewAnnouncer(cfg AnnouncerConfig) *Announcer {
	a := &Announcer{cfg: cfg, machine: coherence.NewPublisher(coherence.PublisherConfig{
		Instance: cfg.Instance, Name: cfg.Name, Random: cfg.Random, Caps: capsOf(cfg.Store),
		TTL: types.Time(cfg.TTL), Renew: types.Time(cfg.Renew),
	})}
	a.init(cfg.Now, cfg.Timeout, cfg.Requested, func() {
		a.feed(func(now types.Time) []coherence.Action { return a.machine.Tick(now) })
	})
	return a
}

// capsOf is what a store can do as far as it is known; what an HTTP server is, it says at its first answer.
func capsOf(s store.Store) coherence.StoreCaps {
	c := s.Info().Caps
	return coherence.StoreCaps{Epochs: c.Epochs, CompareAndSet: c.CompareAndSet, Leases: c.Leases}
}

// Claim asks for the name and waits until it is this engine's and its head lies in the store. A living owner is replaced
// with takeover, else waited for as long as patience says; the error is SEGMENT_OWNED then. It can be called again after
// FENCED.
func (a *Announcer) Claim(ctx context.Context, takeover bool, patience time.Duration) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return errcode.New(errcode.Closed, "claim segment name", "the engine is closed")
	}
	c := &claim{patience: a.now() + types.Time(patience), done: make(chan error, 1)}
	a.waiters = append(a.waiters, c)
	a.lastErr = nil
	a.run(a.machine.Want(a.now(), takeover))
	a.mu.Unlock()
	var patient <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		patient = timer.C
	}
	for {
		select {
		case err := <-c.done:
			return err
		case <-patient:
			patient = nil
			a.feed(func(types.Time) []coherence.Action { return nil }) // who waits for another owner has waited enough
		case <-ctx.Done():
			return a.giveUp(c)
		}
	}
}

// giveUp ends a claim that got no answer in time.
func (a *Announcer) giveUp(c *claim) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(c)
	select {
	case err := <-c.done: // it came at the last moment
		return err
	default:
	}
	if err := a.ownedElsewhere(); err != nil {
		return err
	}
	if a.lastErr != nil {
		return a.lastErr
	}
	return errcode.New(errcode.MetadataUnavailable, "claim segment name", "the metadata store "+a.cfg.Store.Info().URL+" did not answer in time")
}

func (a *Announcer) forget(c *claim) {
	for i, other := range a.waiters {
		if other == c {
			a.waiters = append(a.waiters[:i], a.waiters[i+1:]...)
			return
		}
	}
}

// Changed says that the published version is now v. It takes a lock for a moment and does no I/O.
func (a *Announcer) Changed(v types.Version) {
	a.feed(func(now types.Time) []coherence.Action { return a.machine.Changed(now, v) })
}

// StoreSeen passes on what a watch of the same store said about it.
func (a *Announcer) StoreSeen(storeID string, revision uint64) {
	a.feed(func(now types.Time) []coherence.Action { return a.machine.StoreSeen(now, storeID, revision) })
}

// RecordSeen passes on what a watch of the same store said about our own name.
func (a *Announcer) RecordSeen(r coherence.StoreRecord) {
	a.feed(func(now types.Time) []coherence.Action { return a.machine.RecordSeen(now, r) })
}

// Release gives the name back, as far as the store lets it in the time.
func (a *Announcer) Release(ctx context.Context) {
	a.mu.Lock()
	if a.released == nil {
		a.released = make(chan struct{})
	}
	done := a.released
	a.run(a.machine.Release(a.now()))
	a.settle()
	a.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Close ends everything; what was not released goes with the lease.
func (a *Announcer) Close() {
	a.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.waiters {
		c.done <- errcode.New(errcode.Closed, "claim segment name", "the engine was closed")
	}
	a.waiters = nil
}

func (a *Announcer) feed(event func(now types.Time) []coherence.Action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.run(event(a.now()))
}

// run carries actions out. Callers hold mu.
func (a *Announcer) run(acts []coherence.Action) {
	for _, act := range acts {
		a.apply(act)
	}
	a.settle()
	at, wanted := a.machine.NextWake()
	a.arm(at, wanted)
}

func (a *Announcer) apply(act coherence.Action) {
	switch act := act.(type) {
	case coherence.StoreAcquire:
		a.acquire(act)
	case coherence.StorePublish:
		a.publish(act)
	case coherence.StoreReadBack:
		a.readBack()
	case coherence.StoreRenew:
		a.renew(act)
	case coherence.StoreRelease:
		a.release()
	case coherence.StoreRemake:
		a.remake(act)
	case coherence.RaiseVersion:
		a.raise(act)
	case coherence.OwnershipChanged:
		a.changed(act)
	case coherence.StoreWentBack:
		if act.From == "" && act.To != "" {
			return // it was empty, and got its first ID
		}
		a.cfg.Event("store_went_back")
		a.cfg.Logger.Warn("the metadata store is another one or went back; publishing anew",
			"store", a.cfg.Store.Info().URL, "from", act.From, "to", act.To, "revision", act.Revision)
	}
}

func (a *Announcer) changed(act coherence.OwnershipChanged) {
	if act.State == coherence.Owning && act.Cause == "published" {
		return
	}
	if act.State != a.state { // else the store failed or answers again, and the name stands as before
		a.state = act.State
		a.cfg.Event(eventOf(act.State))
	}
	level, reason := slog.LevelInfo, error(nil)
	if act.Code != errcode.OK && act.State != coherence.Waiting {
		level, reason = slog.LevelWarn, a.lastErr
	}
	a.cfg.Logger.Log(a.ctx, level, "segment name: "+eventOf(act.State), "segment", a.cfg.Name, "epoch", act.Epoch, "cause", act.Cause,
		"holder", act.Holder.Short(), "error", reason)
}

func eventOf(s coherence.OwnershipState) string {
	return map[coherence.OwnershipState]string{
		coherence.NotWanted: "released", coherence.Acquiring: "acquiring", coherence.Owning: "owning",
		coherence.Waiting: "waiting", coherence.FencedOut: "fenced", coherence.Releasing: "releasing",
	}[s]
}

// settle ends the claims whose question is answered. Callers hold mu.
func (a *Announcer) settle() {
	s := a.machine.Stats()
	if a.released != nil && s.State == coherence.NotWanted {
		select {
		case <-a.released:
		default:
			close(a.released)
		}
	}
	if len(a.waiters) == 0 {
		return
	}
	var answer func(c *claim) (error, bool)
	switch {
	case s.State == coherence.Owning && s.Stored > 0:
		answer = func(*claim) (error, bool) { return nil, true }
	case s.State == coherence.Waiting, s.State == coherence.FencedOut:
		err := a.ownedElsewhere()
		answer = func(c *claim) (error, bool) {
			return err, s.State == coherence.FencedOut || a.now() >= c.patience
		}
	case a.lastErr != nil && hopeless(a.lastErr):
		answer = func(*claim) (error, bool) { return a.lastErr, true }
	default:
		return
	}
	for _, c := range append([]*claim(nil), a.waiters...) {
		if err, ok := answer(c); ok {
			a.forget(c)
			c.done <- err
		}
	}
}

// hopeless: asking the same again gives the same answer.
func hopeless(err error) bool {
	switch errcode.Of(err) {
	case errcode.MetadataRefused, errcode.InvalidArgument, errcode.MetadataInvalid, errcode.ResourceExhausted:
		return true
	}
	return false
}

// ownedElsewhere is the error of a name that another instance has, or nil.
func (a *Announcer) ownedElsewhere() error {
	s := a.machine.Stats()
	var err *errcode.Error
	switch s.State {
	case coherence.Waiting:
		err = errcode.New(errcode.SegmentOwned, "claim segment name", fmt.Sprintf("instance %s owns %q", s.Holder, a.cfg.Name)).
			WithHint("choose another name, wait for that engine to close or its lease to end (name_wait_ms), or replace it (takeover=True)")
		if !a.cfg.Store.Info().Caps.Leases {
			err.Hint = "this store has no leases, so the name of a dead engine stays taken: replace it (takeover=True) if that engine is gone"
		}
	case coherence.FencedOut:
		err = errcode.New(errcode.Fenced, "claim segment name", fmt.Sprintf("%q was lost to instance %s: %s", a.cfg.Name, s.Holder, s.Cause)).
			WithHint("claim the name again if this engine is to have it")
	default:
		return nil
	}
	err.Segment = a.cfg.Name
	err.Peer = s.Holder.Short()
	return err
}

func (a *Announcer) failed(err error) (code errcode.Code, unknown bool) {
	var typed *errcode.Error
	if errors.As(err, &typed) {
		out := *typed
		out.Segment = a.cfg.Name
		a.lastErr = &out
	} else {
		a.lastErr = store.Unavailable("use metadata store", a.cfg.Store.Info().URL, err)
	}
	return codeOf(err), store.IsUnknown(err)
}

// Owning says under which epoch and store the name is ours at present; zero: it is not.
func (a *Announcer) Owning() (epoch uint64, storeID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	epoch, storeID, _ = a.machine.Owning(a.now())
	return epoch, storeID
}
