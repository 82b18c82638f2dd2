package coherence

import (
	"cmp"
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// dirName is what is known of one name.
type dirName struct {
	name string
	refs int

	inst   *dirInstance     // where it leads; nil: nowhere
	head   *descriptor.Head // adopted; kept when the instance is lost, so that nothing older follows it
	source string           // of head
	past   []orderMark      // of stores before head's

	latest       *descriptor.Head // valid head that lies in the store as far as we know; nil: none
	latestLegacy bool
	latestSource string
	gone         bool   // it was adopted, and nothing lies there now
	vague        bool   // the store has an owner who has not published yet
	older        bool   // what lies in the store is older than head
	turn         uint64 // storeMemory.turn and revision of the newest record that was taken
	revision     uint64
	listed       uint64 // listing in which it was last found

	binding       *descriptor.Head // DirBind is under way
	bindingSource string
	bindAt        types.Time
	bindBack      backoff
	bindCode      errcode.Code // of the last attempt, if latest is still to be reached
	bindDetail    string

	getting        bool
	getSeq         uint64 // gets begun and
	getDone        uint64 // ended
	getMark        storeMark
	getAt          types.Time // of the next
	getBack        backoff
	staleBack      backoff
	staleAt        types.Time
	why            string // a get is wanted
	freshAt        types.Time
	result         errcode.Code // of the last get, or of a newer watch event
	resultDetail   string
	missAt         types.Time // when nothing lay there
	waiters        []waiter
	wakeAt         types.Time
	wakeSet, leads bool // leads: it led somewhere once
}

// orderMark is how far a name had come under one store.
type orderMark struct {
	store   string
	epoch   uint64
	version types.Version
}

// waiter is one ticket.
type waiter struct {
	ticket  uint64
	need    uint64 // number of the get that must have ended
	cached  bool   // what is known will do if it is usable
	patient bool
}

// headOrder is how a head stands to the adopted one.
type headOrder uint8

const (
	headUnknown headOrder = iota // only the instance itself can tell
	headNewer
	headSame
	headOlder
	headClash // another instance under the same epoch: the store went back and gave it twice
)

// order compares a head with the adopted one, and with what was adopted under its store before
// (model: owner.reader_compare).
func (n *dirName) order(h *descriptor.Head) headOrder {
	a := n.head
	if a == nil {
		return headUnknown
	}
	if h.Instance.IsZero() || a.Instance.IsZero() { // a legacy peer: no identity and no order
		if sameHead(h, a) {
			return headSame
		}
		return headUnknown
	}
	if h.StoreID != a.StoreID {
		for i := range n.past {
			if p := &n.past[i]; p.store == h.StoreID && cmpOrder(h.Epoch, h.Version, p.epoch, p.version) < 0 {
				return headOlder
			}
		}
	}
	newer, comparable := descriptor.Newer(h, a)
	switch {
	case newer:
		return headNewer
	case !comparable && h.StoreID != "" && h.StoreID == a.StoreID:
		return headClash
	case !comparable:
		return headUnknown
	case h.Instance == a.Instance && h.StoreID == a.StoreID && h.Epoch == a.Epoch && h.Version == a.Version:
		return headSame
	}
	return headOlder
}

func cmpOrder(e1 uint64, v1 types.Version, e2 uint64, v2 types.Version) int {
	return cmp.Or(cmp.Compare(e1, e2), cmp.Compare(v1, v2))
}

func sameHead(a, b *descriptor.Head) bool {
	return a.Instance == b.Instance && a.StoreID == b.StoreID && a.Epoch == b.Epoch && a.Version == b.Version &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Data, b.Data)
}

// remember keeps how far the name had come under the store of the head that is replaced.
func (n *dirName) remember(h *descriptor.Head) {
	if h.StoreID == "" {
		return
	}
	for i := range n.past {
		if p := &n.past[i]; p.store == h.StoreID {
			if cmpOrder(h.Epoch, h.Version, p.epoch, p.version) > 0 {
				p.epoch, p.version = h.Epoch, h.Version
			}
			return
		}
	}
	if len(n.past) == maxPastOrders {
		n.past = slices.Delete(n.past, 0, 1)
	}
	n.past = append(n.past, orderMark{h.StoreID, h.Epoch, h.Version})
}

// unbound reports whether the head that lies in the store is still to be reached.
func (n *dirName) unbound() bool {
	if n.latest == nil {
		return false
	}
	if n.inst == nil {
		return true
	}
	o := n.order(n.latest)
	return o == headNewer || o == headUnknown
}

// lead makes the name lead to an instance, or nowhere.
func (d *Directory) lead(n *dirName, id types.InstanceID, somewhere bool) {
	if n.inst != nil {
		delete(n.inst.names, n)
		if len(n.inst.names) == 0 {
			delete(d.instances, n.inst.id)
		}
		n.inst = nil
	}
	if !somewhere {
		return
	}
	i := d.instances[id]
	if i == nil {
		i = &dirInstance{id: id, names: map[*dirName]struct{}{}}
		d.instances[id] = i
	}
	i.names[n] = struct{}{}
	n.inst, n.leads = i, true
}

// forget drops what is known of a name that nobody has open any more: from here on nobody follows what happens to it. What
// is under way stays, and failures are believed a little longer.
func (d *Directory) forget(n *dirName) {
	d.lead(n, types.InstanceID{}, false)
	n.head, n.past, n.source, n.leads = nil, nil, "", false
	n.latest, n.latestSource, n.latestLegacy = nil, "", false
	n.gone, n.vague, n.older = false, false, false
	n.bindCode, n.bindDetail = errcode.OK, ""
	n.waiters, n.why = nil, ""
}

// provenAt is when the name was last known to be as adopted: by a get, by the watch, by its owner's heartbeat.
func (d *Directory) provenAt(n *dirName) types.Time {
	at := n.freshAt
	if d.watching && n.turn == d.store.turn && d.watchRev >= n.revision {
		at = max(at, d.watchAt)
	}
	return at
}

// settled: it leads to what lies in the store.
func (n *dirName) settled() bool { return n.inst != nil && !n.gone && !n.vague && !n.unbound() }

func (d *Directory) fresh(now types.Time, n *dirName) bool {
	return n.settled() && !n.older && (d.cfg.SoftTTL <= 0 || now-d.provenAt(n) < d.cfg.SoftTTL)
}

// expired: the store did not confirm it, and the instance gave no sign of life, for so long that nothing new may be bound
// to it.
func (d *Directory) expired(now types.Time, n *dirName) bool {
	at := d.provenAt(n)
	if i := n.inst; i != nil && i.beaten {
		at = max(at, i.beatAt)
	}
	return d.cfg.SoftTTL > 0 && now-at >= max(hardTTL, d.cfg.SoftTTL)
}

// cachedAnswer is what can be said to an open without waiting.
func (d *Directory) cachedAnswer(now types.Time, n *dirName) (errcode.Code, string, bool) {
	switch {
	case n.settled() && !d.expired(now, n):
		return errcode.OK, "", true
	case n.getDone == 0 && n.result == errcode.OK, n.getting:
		return 0, "", false
	case missing(n.result) && now < n.missAt+d.cfg.Negative,
		n.result != errcode.OK && now < n.getAt:
		return n.result, n.resultDetail, true
	}
	return 0, "", false
}

// used asks for the background refresh of a name that is used past its soft TTL, or that leads nowhere.
func (d *Directory) used(now types.Time, n *dirName) {
	switch {
	case n.why != "" || n.getting || d.fresh(now, n):
	case n.inst == nil:
		n.why = "it is used and leads nowhere"
	default:
		n.why = "soft TTL passed"
	}
}
