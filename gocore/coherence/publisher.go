package coherence

import (
	"fmt"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Defaults of PublisherConfig.
const (
	DefaultLeaseTTL     = 10 * types.Second
	DefaultLeaseRenew   = 3 * types.Second
	DefaultLeaseMargin  = types.Second
	DefaultPublishEvery = 50 * types.Millisecond
	// DefaultStoreRetryMax keeps what an owner does after a store came back below a second.
	DefaultStoreRetryMax = 800 * types.Millisecond
)

// StoreCaps is what a store offers of what a Publisher builds on.
type StoreCaps struct {
	Epochs        bool
	CompareAndSet bool
	Leases        bool
}

// PublisherConfig configures a Publisher. Instance, Name and Random are required.
type PublisherConfig struct {
	Instance types.InstanceID
	Name     string
	Caps     StoreCaps
	Random   func() uint64 // jitter
	// TTL is the lease's; Renew is the pause between renewals; Margin is how long before the lease can end, counted from
	// the sending of the last renewal that counted, the owner stops by itself. Defaults 10 s, 3 s, 1 s.
	TTL, Renew, Margin types.Time
	// PublishEvery is the least time between two publishes. Default 50 ms: 20 a second.
	PublishEvery types.Time
	// RetryMin and RetryMax bound the pause after a failure. Defaults 100 ms and 800 ms.
	RetryMin, RetryMax types.Time
}

func (c *PublisherConfig) setDefaults() {
	set := func(t *types.Time, d types.Time) {
		if *t <= 0 {
			*t = d
		}
	}
	set(&c.TTL, DefaultLeaseTTL)
	set(&c.Renew, DefaultLeaseRenew)
	set(&c.Margin, DefaultLeaseMargin)
	c.Margin, c.Renew = min(c.Margin, c.TTL/4), min(c.Renew, c.TTL/3) // of a short lease
	set(&c.PublishEvery, DefaultPublishEvery)
	set(&c.RetryMin, 100*types.Millisecond)
	set(&c.RetryMax, max(DefaultStoreRetryMax, c.RetryMin))
	if c.Random == nil {
		panic("coherence: PublisherConfig.Random must be set")
	}
}

// Publisher decides for one segment name of one owner in one store: to get the name and keep it, what to publish when,
// and what an answer of the store means. It is the claimant of tests/model/owner.pml.
//
// Two lanes lead to the store, each with at most one request under way: renewals, so that nothing can hold them up, and
// everything else. Every store action must be answered exactly once, in the end by a failure; what the store did with a
// request whose outcome is unknown is never guessed, the record is read.
//
// Time must go on while the machine sleeps (CLOCK_BOOTTIME): the lease does. The wall clock is never used. Its callers
// serialise.
type Publisher struct {
	cfg      PublisherConfig
	wanted   bool
	takeover bool // replace another owner, until the name is ours
	lapsed   bool // ours ended by itself: if another one has the name by now, it is FENCED and not just owned
	state    OwnershipState
	holder   types.InstanceID // of whom we wait for, or who fenced us
	code     errcode.Code
	cause    string

	epoch    uint64 // valid while owning
	storeID  string // under which we acquired
	deadline types.Time
	renewAt  types.Time
	renewal  storeRequest

	want    types.Version // newest published change of the owner
	done    types.Version // of the head that lies in the store as ours, under this epoch; 0: none that we know of
	used    types.Version // highest that a head in the store has or may have: it is not written a second time
	refused types.Version // the store will not have it, and trying again makes no difference
	asked   bool          // RaiseVersion is under way
	last    uint64        // revision of the head that lies there
	doubt   bool          // read before anything else is done

	request   storeRequest // the one under way, not renewals
	remake    string       // store ID to be replaced, if remaking
	remaking  bool
	notBefore types.Time // of the next attempt
	publishAt types.Time // of the next publish
	triedAt   types.Time // when the last one was sent
	retry     backoff
	renewBack backoff

	store     storeMemory
	found     *StoreRecord // just read, while the name is not ours
	lastStore string       // of the last acquisition
	lastEpoch uint64

	stats PublisherStats
}

// requestKind is what the store was asked.
type requestKind uint8

const (
	noRequest requestKind = iota
	readRequest
	acquireRequest
	publishRequest
	releaseRequest
	remakeRequest
	renewRequest
)

// storeRequest is one request under way.
type storeRequest struct {
	kind    requestKind
	sentAt  types.Time
	epoch   uint64 // under which it was sent
	version types.Version
	mark    storeMark
}

// NewPublisher makes the publisher of a name that is not wanted yet.
func NewPublisher(cfg PublisherConfig) *Publisher {
	cfg.setDefaults()
	return &Publisher{cfg: cfg}
}

// Want asks for the name: also again, after another owner fenced us. With takeover the present owner is replaced, once.
func (p *Publisher) Want(now types.Time, takeover bool) []Action {
	acts := p.expire(now, nil)
	if !p.wanted || p.state == FencedOut {
		p.lapsed = false
		p.hurry(now)
	}
	p.wanted, p.takeover = true, takeover && p.state != Owning
	if p.state == NotWanted || p.state == FencedOut || p.state == Waiting {
		acts = p.become(acts, Acquiring, types.InstanceID{}, errcode.OK, "the name is wanted")
	}
	return p.step(now, acts)
}

// Release gives the name up. The end is OwnershipChanged to NotWanted; if the store does not answer, the lease runs out.
func (p *Publisher) Release(now types.Time) []Action {
	acts := p.expire(now, nil)
	p.wanted, p.takeover = false, false
	return p.step(now, acts)
}

// Changed says that the owner's published version is now this one. Changes that come quickly after each other go out as
// one publish of the last.
func (p *Publisher) Changed(now types.Time, v types.Version) []Action {
	acts := p.expire(now, nil)
	if v > p.want {
		p.want = v
	}
	if p.want > p.used {
		p.asked = false
	}
	return p.step(now, acts)
}

// Rendered says that the document of the publish under way carries this version, because the owner went on before it was
// written down.
func (p *Publisher) Rendered(v types.Version) {
	if p.request.kind == publishRequest && v > p.request.version {
		p.request.version = v
		p.want = max(p.want, v)
	}
}

// Tick does what is due.
func (p *Publisher) Tick(now types.Time) []Action { return p.step(now, p.expire(now, nil)) }

// NextWake is when Tick is needed next.
func (p *Publisher) NextWake() (types.Time, bool) {
	var w wake
	if p.state == Owning && p.cfg.Caps.Leases {
		w.at(p.deadline)
	}
	if p.state == Owning && p.wanted && p.renewal.kind == noRequest {
		w.at(p.renewAt)
	}
	if p.request.kind == noRequest {
		if at, needed := p.due(); needed {
			w.at(at)
		}
	}
	return w.get()
}

// Owning reports whether the name is ours at now, by our own clock, and under what.
func (p *Publisher) Owning(now types.Time) (epoch uint64, storeID string, ok bool) {
	if p.state != Owning || (p.cfg.Caps.Leases && now >= p.deadline) {
		return 0, "", false
	}
	return p.epoch, p.storeID, true
}

// PublisherStats is a snapshot for status and metrics.
type PublisherStats struct {
	State    OwnershipState
	Wanted   bool
	Holder   types.InstanceID
	Code     errcode.Code
	Cause    string
	Epoch    uint64
	StoreID  string
	Deadline types.Time // after which nothing is published unless a renewal counts; 0: no lease
	Want     types.Version
	Stored   types.Version // 0: nothing of this epoch
	Busy     bool          // a request other than a renewal is under way

	Acquires, Acquired            uint64
	Publishes, Landed             uint64
	ComparesLost                  uint64
	UnknownOutcomes, Reads        uint64
	Renewals, RenewalsCounted     uint64
	RenewalsLost                  uint64 // the answer did not name us
	Failures                      uint64 // answers that the store could or would not give
	Fenced, Expired               uint64
	Raised, Remakes, StoreChanges uint64
}

// Stats returns a snapshot.
func (p *Publisher) Stats() PublisherStats {
	s := p.stats
	s.State, s.Wanted, s.Holder, s.Code, s.Cause = p.state, p.wanted, p.holder, p.code, p.cause
	s.Want, s.Stored, s.Busy = p.want, p.done, p.request.kind != noRequest
	if p.state == Owning {
		s.Epoch, s.StoreID = p.epoch, p.storeID
		if p.cfg.Caps.Leases {
			s.Deadline = p.deadline
		}
	}
	return s
}

// CheckInvariants looks for contradictions.
func (p *Publisher) CheckInvariants() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("publisher of %q: %s", p.cfg.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case p.state != Owning && (p.epoch != 0 || p.last != 0 || p.done != 0):
		return fail("state %v remembers epoch %d, revision %d, version %d", p.state, p.epoch, p.last, p.done)
	case p.state == Owning && p.cfg.Caps.Epochs && p.epoch == 0:
		return fail("it owns the name without an epoch")
	case p.done > p.used || p.done > p.want:
		return fail("version %d is stored, at most %d was used and %d wanted", p.done, p.used, p.want)
	case p.request.kind == publishRequest && p.request.version <= p.done && p.request.epoch == p.epoch && p.state == Owning:
		return fail("version %d is published again", p.request.version)
	case p.want >= descriptor.MaxVersion:
		return fail("version %d is out of range", p.want)
	}
	return nil
}

func (s OwnershipState) String() string {
	switch s {
	case NotWanted:
		return "NOT_WANTED"
	case Acquiring:
		return "ACQUIRING"
	case Owning:
		return "OWNING"
	case Waiting:
		return "WAITING"
	case FencedOut:
		return "FENCED"
	case Releasing:
		return "RELEASING"
	}
	return fmt.Sprintf("OwnershipState(%d)", uint8(s))
}
