package coherence

import (
	"container/heap"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Where a record comes from.
const (
	fromGet   = "get"
	fromWatch = "watch"
)

// offer takes a record of a name over as far as it is valid and not older than what was taken before.
func (d *Directory) offer(now types.Time, n *dirName, rec *StoreRecord, source string, acts []Action) []Action {
	if n.refs == 0 {
		if missing(n.result) {
			n.result = errcode.OK // not believed any longer
		}
		return acts
	}
	if n.turn == d.store.turn && rec.Revision < n.revision {
		d.stats.OlderIgnored++ // a delayed event or listing; what we know was read later
		return acts
	}
	n.turn, n.revision = d.store.turn, rec.Revision
	switch {
	case rec.HeadBad:
		d.invalid(now, n, source, "what lies there cannot be read")
		return acts
	case rec.Head == nil && rec.Owner.IsZero():
		return d.nothing(now, n, source, acts)
	case rec.Head == nil:
		n.vague, n.latest = true, nil
		d.miss(now, n, source, "instance "+rec.Owner.Short()+" owns the name and has not published yet")
		return acts
	}
	if err := usableHead(rec, n.name); err != nil {
		d.invalid(now, n, source, err.Error())
		return acts
	}
	n.gone, n.vague, n.older = false, false, false
	n.result, n.resultDetail = errcode.OK, ""
	h := rec.Head
	o := n.order(h)
	switch o {
	case headOlder:
		d.stats.OlderIgnored++
		n.older = true
		return acts
	case headClash: // neither is newer: it is adopted when its owner has it under a new store ID
		d.stats.Clashes++
		n.older = true
		if r := &d.remake; d.cfg.Epochs && h.StoreID == d.store.id {
			r.wanted, r.seen = true, d.store.id
		}
		return d.stepStore(now, acts)
	}
	if n.latest == nil || !sameHead(h, n.latest) {
		n.bindCode, n.bindDetail = errcode.OK, ""
		if n.latest == nil || n.latest.Instance != h.Instance {
			n.bindAt = now
			n.bindBack.reset()
		}
		n.latest, n.latestLegacy, n.latestSource = h, rec.Legacy, source
	}
	switch {
	case n.inst == nil:
	case o == headSame:
		n.freshAt = now
	case o == headNewer && h.Instance == n.inst.id:
		return d.adopt(now, n, h, source, acts)
	}
	return acts
}

// usableHead is what must hold of a head before anything is done with it. A legacy one has no instance.
func usableHead(rec *StoreRecord, name string) error {
	h := *rec.Head
	if rec.Legacy && h.Instance.IsZero() {
		h.Instance[0] = 1 // everything else is checked as usual
	}
	if err := h.Validate(); err != nil {
		return err
	}
	if h.Name != name {
		return errcode.New(errcode.MetadataInvalid, "read head", "it is of segment "+h.Name)
	}
	return nil
}

func (d *Directory) invalid(now types.Time, n *dirName, source, detail string) {
	d.stats.InvalidIgnored++
	n.result, n.resultDetail = errcode.MetadataInvalid, detail
	if source == fromGet { // events say it again and again; they put off no get that is waited for
		n.getAt = n.getBack.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
	}
}

// nothing: neither owner nor head. A name that led somewhere is gone, but sessions go on.
func (d *Directory) nothing(now types.Time, n *dirName, source string, acts []Action) []Action {
	n.latest, n.vague, n.older = nil, false, false
	if !n.leads {
		d.miss(now, n, source, "nobody has published it")
		return acts
	}
	d.miss(now, n, source, "it was released, or its owner's lease ran out")
	n.result = errcode.SegmentGone
	if n.gone {
		return acts
	}
	n.gone = true
	d.stats.Gone++
	return append(acts, DirGone{Name: n.name})
}

func (d *Directory) miss(now types.Time, n *dirName, source, detail string) {
	n.result, n.resultDetail, n.missAt = errcode.SegmentNotFound, detail, now
	if half := d.cfg.Negative / 2; source == fromGet {
		n.getAt = now + half + types.Time(d.cfg.Random()%uint64(half+1))
	}
}

// adopt makes the name lead to the head's instance. Compare and adopt is one step (model: owner.reader_adopt).
func (d *Directory) adopt(now types.Time, n *dirName, h *descriptor.Head, source string, acts []Action) []Action {
	a := DirAdopted{Name: n.name, Instance: h.Instance, Epoch: h.Epoch, Version: h.Version, Source: source}
	if n.head != nil {
		a.From = n.head.Instance
		if n.head.StoreID != h.StoreID {
			n.remember(n.head)
		}
		if a.From != h.Instance {
			d.stats.Replaced++
		}
	}
	d.stats.Adopted++
	d.lead(n, h.Instance, true)
	n.head, n.source, n.freshAt = h, source, now
	n.bindCode, n.bindDetail = errcode.OK, ""
	n.staleBack.reset()
	return append(acts, a)
}

// step does what is due for a name: a get, a bind, answers, forgetting it.
func (d *Directory) step(now types.Time, n *dirName, acts []Action) []Action {
	acts = d.settle(now, n, acts)
	if n.refs > 0 {
		if n.wantsGet() && now >= n.getAt {
			why := n.why
			if why == "" {
				why = "it is waited for"
			}
			n.why, n.getting, n.getMark = "", true, d.store.mark()
			n.getSeq++
			d.stats.Gets++
			acts = append(acts, DirGet{Name: n.name, Why: why})
		}
		if n.wantsBind() && now >= n.bindAt {
			n.binding, n.bindingSource = n.latest, n.latestSource
			d.stats.Binds++
			why := "first sight"
			if n.head != nil {
				why = "another instance published the name"
				if n.head.Instance == n.latest.Instance {
					why = "the peer was given up"
				}
			}
			acts = append(acts, DirBind{Name: n.name, Head: n.latest, Why: why})
		}
	}
	d.schedule(now, n)
	return acts
}

func (n *dirName) wantsGet() bool {
	if n.getting {
		return false
	}
	if n.why != "" {
		return true
	}
	for i := range n.waiters {
		if n.waiters[i].need > n.getSeq {
			return true
		}
	}
	return false
}

func (n *dirName) wantsBind() bool { return n.binding == nil && n.unbound() }

// settle answers those whose wait is over.
func (d *Directory) settle(now types.Time, n *dirName, acts []Action) []Action {
	kept := n.waiters[:0]
	for _, w := range n.waiters {
		code, detail, over := d.verdict(now, n, &w)
		if over && w.patient && retryable(code) {
			if !n.getting {
				w.need = n.getSeq + 1
			}
			over = false
		}
		if !over {
			kept = append(kept, w)
			continue
		}
		acts = append(acts, DirAnswer{Name: n.name, Ticket: w.ticket, Code: code, Detail: detail})
	}
	n.waiters = kept
	if len(kept) == 0 {
		n.waiters = nil
	}
	return acts
}

// retryable: the patient wait through it.
func retryable(c errcode.Code) bool {
	switch c {
	case errcode.SegmentNotFound, errcode.SegmentGone, errcode.MetadataUnavailable:
		return true
	}
	return false
}

func (d *Directory) verdict(now types.Time, n *dirName, w *waiter) (errcode.Code, string, bool) {
	switch {
	case w.cached && n.settled() && !d.expired(now, n):
		return errcode.OK, "", true
	case w.need > n.getDone:
		return 0, "", false
	case n.result != errcode.OK:
		return n.result, n.resultDetail, true
	case n.older && (n.inst == nil || n.settled() && !w.cached):
		return errcode.MetadataUnavailable, "the store went back: it holds an older head than was adopted before", true
	case n.settled():
		return errcode.OK, "", true
	case n.binding == nil && n.bindCode == errcode.Unsupported: // trying again gives the same
		return n.bindCode, n.bindDetail, true
	case n.binding == nil && n.bindCode != errcode.OK && !w.patient:
		return errcode.PeerUnreachable, n.bindCode.String() + ": " + n.bindDetail, true
	}
	return 0, "", false
}

// schedule notes when the name needs a Tick, or forgets it.
func (d *Directory) schedule(now types.Time, n *dirName) {
	var w wake
	if n.refs == 0 {
		if n.getting || n.binding != nil {
			return
		}
		until := d.believedTill(n)
		if now >= until || len(d.names) > maxNegative {
			delete(d.names, n.name)
			n.wakeSet = false
			return
		}
		w.at(until)
	} else {
		if n.wantsGet() {
			w.at(n.getAt)
		}
		if n.wantsBind() {
			w.at(n.bindAt)
		}
	}
	at, needed := w.get()
	if !needed {
		n.wakeSet = false
		return
	}
	if n.wakeSet && n.wakeAt == at {
		return
	}
	n.wakeAt, n.wakeSet = at, true
	d.timers.add(at, n)
}

// believedTill is until when a failure is remembered of a name that nobody has open: who opens it in a loop does not read
// the store more often than who waits.
func (d *Directory) believedTill(n *dirName) types.Time {
	switch n.result {
	case errcode.OK:
		return 0
	case errcode.SegmentNotFound, errcode.SegmentGone:
		return n.missAt + d.cfg.Negative
	}
	return n.getAt
}

func missing(c errcode.Code) bool { return c == errcode.SegmentNotFound || c == errcode.SegmentGone }

// Tick does what is due.
func (d *Directory) Tick(now types.Time) []Action {
	acts := d.stepStore(now, nil)
	for {
		t, ok := d.timers.first()
		if !ok || t.at > now {
			return acts
		}
		heap.Pop(&d.timers.heap)
		t.n.wakeSet = false
		acts = d.step(now, t.n, acts)
	}
}

// NextWake is when Tick is needed next.
func (d *Directory) NextWake() (types.Time, bool) {
	var w wake
	if t, ok := d.timers.first(); ok {
		w.at(t.at)
	}
	if d.remake.wanted && !d.remake.flying {
		w.at(d.remake.at)
	}
	return w.get()
}
