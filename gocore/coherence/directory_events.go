package coherence

import (
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Got answers DirGet with the record, which may be empty.
func (d *Directory) Got(now types.Time, name string, rec StoreRecord) []Action {
	n := d.names[name]
	if n == nil || !n.getting {
		return nil
	}
	n.getting, n.getDone = false, n.getSeq
	from := d.store.id
	var acts []Action
	switch d.store.read(n.getMark, rec.StoreID, rec.Revision) {
	case staleStore:
		d.stats.StaleAnswers++
		for i := range n.waiters {
			n.waiters[i].need = max(n.waiters[i].need, n.getSeq+1)
		}
		if n.why == "" {
			n.why = "the store changed while it was asked"
		}
		return d.step(now, n, nil)
	case otherStore:
		acts = d.storeChanged(now, from, false, acts)
	case olderStore:
		acts = d.storeChanged(now, from, true, acts)
	}
	n.getAt = now
	acts = d.offer(now, n, &rec, fromGet, acts)
	switch {
	case n.result == errcode.OK && !n.older:
		n.getBack.reset()
	case n.result == errcode.OK: // whoever waits for something newer waits for its owner to publish it again
		n.getAt = n.getBack.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
	}
	return d.step(now, n, acts)
}

// GetFailed answers DirGet: METADATA_UNAVAILABLE, METADATA_REFUSED or METADATA_INVALID. What was known stays, and does
// not get younger.
func (d *Directory) GetFailed(now types.Time, name string, code errcode.Code, detail string) []Action {
	n := d.names[name]
	if n == nil || !n.getting {
		return nil
	}
	n.getting, n.getDone = false, n.getSeq
	d.stats.GetsFailed++
	n.result, n.resultDetail = code, detail
	n.getAt = n.getBack.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
	return d.step(now, n, nil)
}

// Bound answers DirBind: OK when exactly this instance answered and its descriptor was adopted; STALE_INSTANCE when
// another one did; PEER_UNREACHABLE and others (model: owner.reader_adopt).
func (d *Directory) Bound(now types.Time, name string, instance types.InstanceID, code errcode.Code, detail string) []Action {
	n := d.names[name]
	if n == nil || n.binding == nil || n.binding.Instance != instance {
		return nil
	}
	h, source := n.binding, n.bindingSource
	n.binding, n.bindingSource = nil, ""
	if code != errcode.OK {
		d.stats.BindsFailed++
		n.bindCode, n.bindDetail = code, detail
		n.bindAt = n.bindBack.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
		d.distrust(now, n, "its instance was not reached: "+code.String())
		return d.step(now, n, nil)
	}
	n.bindBack.reset()
	if n.refs == 0 || n.latest == nil || n.latest.Instance != instance || !n.unbound() {
		d.stats.BindsVoid++ // meanwhile the store said something else
		return d.step(now, n, nil)
	}
	if !instance.IsZero() || sameHead(h, n.latest) {
		h, source = n.latest, n.latestSource
	}
	return d.step(now, n, d.adopt(now, n, h, source, nil))
}

// WatchDown says that the watch ended; names are not proven by it any more.
func (d *Directory) WatchDown(types.Time) []Action {
	if d.watching {
		d.stats.WatchesLost++
	}
	d.watching = false
	return nil
}

// Listing is the beginning of a watch: all names of the store at one revision.
func (d *Directory) Listing(now types.Time, storeID string, revision uint64, records []StoreRecord) []Action {
	var acts []Action
	d.stats.Listings++
	switch from := d.store.id; {
	case !d.store.known:
		d.store.read(d.store.mark(), storeID, revision)
	case storeID != d.store.id && slices.Contains(d.store.past, storeID):
		return d.recheck(now, "a listing came from a store that was over", nil) // only a linearizable read can tell
	case storeID != d.store.id:
		d.store.move(storeID, revision)
		acts = d.storeChanged(now, from, false, acts)
	case revision < d.store.revision:
		acts = d.recheck(now, "a listing is older than what was read before", acts)
	default:
		d.store.revision = revision
	}
	d.watching, d.watchAt, d.watchRev = true, now, revision
	d.listings++
	for i := range records {
		rec := &records[i]
		if n := d.names[rec.Name]; n != nil {
			n.listed = d.listings
			acts = d.step(now, n, d.offer(now, n, rec, fromWatch, acts))
		}
	}
	for _, name := range d.openNames() {
		// What is not listed is gone, or was opened while the list was on its way.
		if n := d.names[name]; n.listed != d.listings && n.inst != nil && !n.gone {
			acts = d.recheckName(now, n, "it is not in the listing", acts)
		}
	}
	return d.stepStore(now, acts)
}

// Changed is an event of the watch; names that are not open are passed over.
func (d *Directory) Changed(now types.Time, rec StoreRecord) []Action {
	n := d.names[rec.Name]
	if rec.StoreID != "" && d.store.known && rec.StoreID != d.store.id {
		if n == nil {
			return nil
		}
		d.distrust(now, n, "an event came from another store")
		return d.step(now, n, nil)
	}
	d.progressed(now, rec.Revision)
	if n == nil {
		return nil
	}
	return d.step(now, n, d.offer(now, n, &rec, fromWatch, nil))
}

// Progress is proof that the watch is alive and complete up to a revision.
func (d *Directory) Progress(now types.Time, revision uint64) []Action {
	d.progressed(now, revision)
	return nil
}

func (d *Directory) progressed(now types.Time, revision uint64) {
	if !d.watching {
		return
	}
	d.watchAt, d.watchRev = now, max(d.watchRev, revision)
	d.store.revision = max(d.store.revision, revision)
}

// Heartbeat is a sign of life on the session with an instance, with what it owns its name under (zero: it owns none just
// now). Names that lead there can be used as long as it comes, whatever the store does; if it owns them as they were
// adopted, they are fresh as well.
func (d *Directory) Heartbeat(now types.Time, instance types.InstanceID, storeID string, epoch uint64) []Action {
	i := d.instances[instance]
	if i == nil {
		return nil
	}
	i.beaten, i.beatAt = true, now
	var acts []Action
	for _, n := range i.sorted() {
		switch {
		case n.head.StoreID == storeID && n.head.Epoch == epoch:
			n.freshAt = now
		case storeID != "":
			d.distrust(now, n, "its owner has it under another epoch")
			acts = d.step(now, n, acts)
		}
	}
	return acts
}

// Stale says that the peer behind a name answered STALE_INSTANCE, STALE_BUFFER or an access error, or is gone: the record
// is read at once, and then less and less often. No other name is touched.
func (d *Directory) Stale(now types.Time, name, why string) []Action {
	n := d.names[name]
	if n == nil || n.refs == 0 {
		return nil
	}
	d.distrust(now, n, why)
	return d.step(now, n, nil)
}

// StaleInstance does the same for all names that lead to an instance.
func (d *Directory) StaleInstance(now types.Time, instance types.InstanceID, why string) []Action {
	i := d.instances[instance]
	if i == nil {
		return nil
	}
	var acts []Action
	for _, n := range i.sorted() {
		d.distrust(now, n, why)
		acts = d.step(now, n, acts)
	}
	return acts
}

// Unbound says that the peer of an instance was given up (it ended, was replaced, was evicted): its names lead nowhere
// until they are bound anew.
func (d *Directory) Unbound(now types.Time, instance types.InstanceID, why string) []Action {
	i := d.instances[instance]
	if i == nil {
		return nil
	}
	var acts []Action
	for _, n := range i.sorted() {
		d.lead(n, types.InstanceID{}, false)
		d.distrust(now, n, why)
		acts = d.step(now, n, acts)
	}
	return acts
}

// Remade answers StoreRemake.
func (d *Directory) Remade(now types.Time, storeID string, code errcode.Code) []Action {
	r := &d.remake
	if !r.flying {
		return nil
	}
	r.flying = false
	if code != errcode.OK {
		r.at = r.back.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
		return d.stepStore(now, nil)
	}
	r.wanted = false
	r.back.reset()
	var acts []Action
	if storeID != d.store.id {
		d.store.move(storeID, 0)
		acts = d.recheck(now, "the store got a new ID", acts)
	}
	return acts
}

// distrust wants the record read: at once the first time, then less and less often until something new is adopted or
// nobody complained for a while.
func (d *Directory) distrust(now types.Time, n *dirName, why string) {
	if n.why == "" {
		n.why = why
	}
	if now < n.staleAt {
		n.getAt = max(n.getAt, n.staleAt)
		return
	}
	if now >= n.staleAt+2*d.cfg.RetryMax {
		n.staleBack.reset()
	}
	n.staleAt = n.staleBack.after(now, d.cfg.RetryMin, d.cfg.RetryMax, d.cfg.Random)
}

// recheck reads all open names again, spread over a quarter of a second.
func (d *Directory) recheck(now types.Time, why string, acts []Action) []Action {
	for _, name := range d.openNames() {
		acts = d.recheckName(now, d.names[name], why, acts)
	}
	return acts
}

func (d *Directory) recheckName(now types.Time, n *dirName, why string, acts []Action) []Action {
	if n.why == "" {
		n.why = why
	}
	n.getAt = max(n.getAt, now+types.Time(d.cfg.Random()%uint64(types.Second/4)))
	return d.step(now, n, acts)
}

func (d *Directory) storeChanged(now types.Time, from string, older bool, acts []Action) []Action {
	d.stats.StoreChanges++
	acts = append(acts, StoreWentBack{From: from, To: d.store.id, Revision: d.store.revision})
	d.watching = false
	if r := &d.remake; older && d.cfg.Epochs {
		r.wanted, r.seen = true, d.store.id
	}
	return d.stepStore(now, d.recheck(now, "the store changed", acts))
}

// stepStore makes a new store ID if the store went back.
func (d *Directory) stepStore(now types.Time, acts []Action) []Action {
	r := &d.remake
	if !r.wanted || r.flying || now < r.at {
		return acts
	}
	r.flying = true
	d.stats.Remakes++
	return append(acts, StoreRemake{Seen: r.seen})
}

func (i *dirInstance) sorted() []*dirName {
	names := make([]*dirName, 0, len(i.names))
	for n := range i.names {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b *dirName) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return names
}

// openNames is sorted, so that the same events give the same actions.
func (d *Directory) openNames() []string {
	names := make([]string, 0, len(d.names))
	for name, n := range d.names {
		if n.refs > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
