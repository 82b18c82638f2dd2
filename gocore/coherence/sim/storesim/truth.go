package storesim

import (
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// truth is what really happened, which the machines do not see.
type truth struct {
	tops     map[nameStore]uint64               // highest epoch of a stored head, per history of the store
	history  uint64                             // counts the histories of the store
	heads    map[headKey]*descriptor.Head       // every head that was written down
	stores   map[headKey]bool                   // those that the store took
	lastVer  map[types.InstanceID]types.Version // that the store took last, per owner
	best     map[readerKey]orderOf              // newest adopted per reader, name and store ID
	claims   map[claimOf]types.Time             // when the last request was sent that really found it the owner
	beats    map[beatKey]beatOf
	deaths   map[types.InstanceID]types.Time
	answered map[beatKey]bool // handshakes
}

type nameStore struct {
	name    string
	history uint64
}

type headKey struct {
	inst    types.InstanceID
	version types.Version
}

type readerKey struct {
	reader      types.InstanceID
	name, store string
	opened      int
}

type orderOf struct {
	epoch   uint64
	version types.Version
}

type claimOf struct {
	inst  types.InstanceID
	epoch uint64
	id    string
}

type beatKey struct{ reader, owner types.InstanceID }

type beatOf struct {
	at    types.Time
	epoch uint64
}

func (t *truth) init() {
	t.tops, t.heads, t.stores = map[nameStore]uint64{}, map[headKey]*descriptor.Head{}, map[headKey]bool{}
	t.lastVer, t.best = map[types.InstanceID]types.Version{}, map[readerKey]orderOf{}
	t.answered = map[beatKey]bool{}
	t.claims, t.beats, t.deaths = map[claimOf]types.Time{}, map[beatKey]beatOf{}, map[types.InstanceID]types.Time{}
}

// wentBack: S6 speaks of one history of the store.
func (t *truth) wentBack() {
	t.history++
	clear(t.lastVer)
}

func (t *truth) died(p *proc, now types.Time) { t.deaths[p.inst] = now }

// acquired: the store gave an epoch.
func (t *truth) acquired(w *world, id, name string, inst types.InstanceID, epoch uint64) {
	w.trace("the store gives %s to %s, epoch %d", name, inst.Short(), epoch)
}

// counted notes when a request that found its sender the owner was sent: its lease was good from then on.
func (t *truth) counted(p *proc, epoch uint64, id string, sent types.Time) {
	rec := p.w.store.record(p.name)
	if rec.Owner == p.inst && rec.Epoch == epoch && rec.OwnerStoreID == id && rec.StoreID == id {
		c := claimOf{p.inst, epoch, id}
		t.claims[c] = max(t.claims[c], sent)
	}
}

// mayPublish: a publish is sent only within the lease that the last counted renewal was sent for, less a second.
func (t *truth) mayPublish(p *proc, a coherence.StorePublish) {
	if p.w.store.stock {
		return
	}
	sent, ok := t.claims[claimOf{p.inst, a.Epoch, a.StoreID}]
	if ok && p.w.now < sent+coherence.DefaultLeaseTTL-coherence.DefaultLeaseMargin {
		return
	}
	p.w.violate("S6 (zombie)", "%s publishes under epoch %d, %d ms after the last renewal that counted was sent", p, a.Epoch, (p.w.now-sent)/types.Millisecond)
}

// rendered: each version stands for one state, so it is written down once.
func (t *truth) rendered(w *world, h *descriptor.Head) {
	k := headKey{h.Instance, h.Version}
	if old := t.heads[k]; old != nil && t.stores[k] {
		w.violate("version", "version %d of %s is published again after it had landed", h.Version, h.Instance.Short())
	}
	t.heads[k] = h
}

// stored is S6.
func (t *truth) stored(w *world, id, name string, inst types.InstanceID, h *descriptor.Head, e entry) {
	w.stats.did(Landed)
	w.trace("the store takes %s", describe(h))
	if e.owner != inst || e.epoch != h.Epoch {
		w.violate("S6", "%s of epoch %d writes the head of %s, which %s owns under epoch %d", inst.Short(), h.Epoch, name, e.owner.Short(), e.epoch)
	}
	k := nameStore{name, t.history}
	if h.Epoch < t.tops[k] {
		w.violate("S6", "a head of epoch %d follows one of epoch %d", h.Epoch, t.tops[k])
	}
	t.tops[k] = h.Epoch
	if h.Version <= t.lastVer[inst] {
		w.violate("S6", "version %d of %s follows version %d", h.Version, inst.Short(), t.lastVer[inst])
	}
	t.lastVer[inst] = h.Version
	t.stores[headKey{inst, h.Version}] = true
}

// published is half of S7: nobody reaches for a head that no owner wrote.
func (t *truth) published(w *world, h *descriptor.Head) {
	if t.heads[headKey{h.Instance, h.Version}] != h {
		w.violate("S7", "%s was never published", describe(h))
	}
}

// adopted is S5 and S7.
func (t *truth) adopted(p *proc, a coherence.DirAdopted) {
	h := p.dir.Head(a.Name)
	t.published(p.w, h)
	if h.Name != a.Name || h.Instance != a.Instance || h.Epoch != a.Epoch || h.Version != a.Version {
		p.w.violate("S7", "%s adopts %s as epoch %d version %d", p, describe(h), a.Epoch, a.Version)
	}
	if !t.answered[beatKey{p.inst, h.Instance}] {
		p.w.violate("S1", "%s follows %s to %s, which has never answered it", p, a.Name, h.Instance.Short())
	}
	k := readerKey{p.inst, a.Name, h.StoreID, p.opened[a.Name]}
	if h.StoreID == "" { // S5 per instance
		k.store = h.Instance.String()
	}
	if b := t.best[k]; h.Epoch < b.epoch || h.Epoch == b.epoch && h.Version < b.version {
		p.w.violate("S5", "%s goes back in %s from epoch %d version %d to epoch %d version %d", p, a.Name, b.epoch, b.version, h.Epoch, h.Version)
	}
	t.best[k] = orderOf{h.Epoch, h.Version}
}

func (t *truth) beat(p *proc, owner types.InstanceID, id string, epoch uint64) {
	t.beats[beatKey{p.inst, owner}] = beatOf{p.w.now, epoch}
}
