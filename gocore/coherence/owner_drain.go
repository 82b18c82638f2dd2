package coherence

import (
	"fmt"
	"math"
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// drainRun is one drain, proctype Drain of the model: a set of ids that go from READY to gone together.
type drainRun struct {
	id       DrainID
	nonce    types.Nonce
	ids      []*ownedID // sorted by ID: registrations, all their READY grants, and grants named by themselves
	foreign  []*ownedID // grants of our registrations that an earlier drain took; their gates are ours to wait for too
	versions bool       // some ID can be used by peers: the drain takes versions
	listed   bool       // some ID stands in the descriptor: it publishes
	start    types.Time
	deadline types.Time
	grace    types.Time    // not fenced before, for the sake of readers that cannot be asked
	version  types.Version // of READY -> DRAINING

	// wait is W: who was in G at the start and has neither acknowledged nor left G. What a peer was sent it must
	// acknowledge in full.
	wait    map[types.InstanceID]*drainWait
	fencing bool // CloseGates was issued for all
	locals  int  // registrations with operations of our own still on them
	gates   int  // ids, foreign ones included, with somebody possibly inside

	acked, fenced, timedOut []types.InstanceID
}

// drainWait is what one peer still owes.
type drainWait struct {
	ids   []types.BufferID // sent to it, sorted
	acked idSet
}

// Drain takes ids from READY to gone: registrations with all their grants, and single grants. Within is D: for how
// long holders may finish; 0 fences at once. The report comes as DrainDone.
//
// READY -> DRAINING, the new floor and the copy W of the holders are one step: whoever enters the holder set earlier
// is asked, whoever enters it later gets the new floor (model: drain.ready_to_draining).
func (o *Owner) Drain(now types.Time, ids []types.BufferID, within types.Time) (DrainID, []Action, error) {
	if err := o.drainable(ids); err != nil {
		return 0, nil, err
	}
	within = max(within, 0)
	o.lastDrain++
	d := &drainRun{id: o.lastDrain, start: now, deadline: later(now, within), wait: map[types.InstanceID]*drainWait{}}
	for d.nonce == 0 || o.byNonce[d.nonce] != nil {
		d.nonce = types.Nonce(o.random())
	}
	o.collect(d, ids)
	o.drains[d.id], o.byNonce[d.nonce] = d, d
	o.counts.drains++

	d.version = o.version
	if d.versions {
		d.version = o.nextVersion()
	}
	for _, e := range d.ids {
		e.state, e.drain = types.Draining, d
		if e.remotely() {
			o.raiseFloor(e.peer, d.version)
		}
	}
	out := []Action{RefuseNew{IDs: idsOf(d.ids)}}
	if d.listed {
		o.listing.altered(d.ids)
		out = append(out, o.publish())
	}
	o.askHolders(d)
	for _, peer := range sortedPeers(d.wait) {
		if h := o.peers[peer]; h.alive {
			out = append(out, d.ask(now, peer))
		}
	}
	if within > 0 {
		if d.listed && o.cfg.Grace > 0 {
			d.grace = later(now, o.cfg.Grace)
			d.deadline = max(d.deadline, d.grace)
			o.timers.add(d.grace, d, nil)
		}
		o.timers.add(d.deadline, d, nil)
	}
	return d.id, append(out, o.advance(now, d)...), nil
}

// drainable checks the ids before anything changes.
func (o *Owner) drainable(ids []types.BufferID) error {
	const op = "drain"
	if len(ids) == 0 {
		return errcode.New(errcode.InvalidArgument, op, "no buffer given")
	}
	for _, id := range ids {
		e := o.ids[id]
		switch {
		case e == nil:
			return errcode.New(errcode.StaleBuffer, op, fmt.Sprintf("buffer %d is not registered (any more)", id)).
				WithHint("each registration or grant is dropped once; IDs are never used again")
		case e.state == types.Draining:
			return errcode.New(errcode.DrainingCode, op, fmt.Sprintf("buffer %d is already being drained", id)).
				WithHint("wait for the drain that is under way")
		case e.state != types.Ready:
			return errcode.New(errcode.Quarantined, op, fmt.Sprintf("buffer %d could not be fenced and stays pinned until the process ends", id))
		}
	}
	return nil
}

// collect gathers what the drain covers. A grant that another drain has already taken stays with that drain, which
// keeps its own deadline; but the memory is not free before that grant's gate is quiet as well.
func (o *Owner) collect(d *drainRun, ids []types.BufferID) {
	for _, id := range ids {
		e := o.ids[id]
		d.ids = append(d.ids, e)
		for _, g := range e.grants {
			switch g.state {
			case types.Ready:
				d.ids = append(d.ids, g)
			case types.Draining:
				d.foreign = append(d.foreign, g)
			}
		}
	}
	byID := func(a, b *ownedID) int { return compareIDs(a.id, b.id) }
	slices.SortFunc(d.ids, byID)
	d.ids = slices.Compact(d.ids)
	slices.SortFunc(d.foreign, byID)
	d.foreign = slices.Compact(d.foreign)
	d.gates = len(d.ids)
	for _, e := range d.ids {
		d.versions = d.versions || e.remotely()
		d.listed = d.listed || e.listed()
		if e.reg == nil {
			d.locals++
		}
	}
	for _, e := range d.foreign {
		if !e.settled {
			d.gates++
		}
	}
}

// askHolders copies G into W, each peer with the ids that concern it.
func (o *Owner) askHolders(d *drainRun) {
	var all []types.BufferID // concern everyone
	own := map[types.InstanceID][]types.BufferID{}
	for _, e := range d.ids {
		switch {
		case !e.remotely():
		case e.peer.IsZero():
			all = append(all, e.id)
		default:
			own[e.peer] = append(own[e.peer], e.id)
		}
	}
	for peer, h := range o.peers {
		if !h.holds() || len(all)+len(own[peer]) == 0 {
			continue
		}
		ids := all
		if len(own[peer]) > 0 {
			ids = slices.Concat(all, own[peer])
			slices.Sort(ids)
		}
		d.wait[peer] = &drainWait{ids: ids}
		h.waiting[d.id] = d
	}
}

// ask is the DRAIN to one peer of W.
func (d *drainRun) ask(now types.Time, peer types.InstanceID) Action {
	return SendDrain{
		Peer: peer, IDs: slices.Clone(d.wait[peer].ids), Version: d.version,
		Within: max(d.deadline-now, 0), Nonce: d.nonce,
	}
}

// DrainAck takes a peer's promise. It leaves W once it has promised all that it was asked; it stays in G, since its
// paths live on and the next drain must ask it again (model: drain.ack_taken).
func (o *Owner) DrainAck(now types.Time, peer types.InstanceID, nonce types.Nonce, ids []types.BufferID) []Action {
	d := o.byNonce[nonce]
	if d == nil {
		return nil
	}
	w := d.wait[peer]
	if w == nil {
		return nil
	}
	asked := slices.DeleteFunc(slices.Clone(ids), func(id types.BufferID) bool {
		_, found := slices.BinarySearch(w.ids, id)
		return !found // a promise that nobody asked for means nothing
	})
	w.acked.AddAll(asked)
	for _, id := range w.ids {
		if !w.acked.Has(id) {
			return nil
		}
	}
	o.leaveWait(d, peer)
	d.acked = append(d.acked, peer)
	return o.advance(now, d)
}

// Hasten lets no running drain wait for longer than within from now: the owner is closing. Readers that cannot be asked
// keep their time, unless nothing is waited for at all.
func (o *Owner) Hasten(now, within types.Time) []Action {
	soon := later(now, max(within, 0))
	var out []Action
	for _, id := range sortedDrainIDs(o.drains) {
		d := o.drains[id]
		if d == nil { // an earlier one of this loop ended it
			continue
		}
		limit := soon
		if within > 0 {
			limit = max(soon, d.grace)
		}
		if d.fencing || d.deadline <= limit {
			continue
		}
		d.deadline, d.grace = limit, min(d.grace, limit)
		o.timers.add(limit, d, nil)
		out = append(out, o.advance(now, d)...)
	}
	return out
}

func (o *Owner) leaveWait(d *drainRun, peer types.InstanceID) {
	delete(d.wait, peer)
	if h := o.peers[peer]; h != nil {
		delete(h.waiting, d.id)
	}
}

// LocalQuiet says that no operation of our own uses this draining registration as local memory any more.
func (o *Owner) LocalQuiet(now types.Time, id types.BufferID) []Action {
	e := o.ids[id]
	if e == nil || e.reg != nil || e.drain == nil || e.localQuiet {
		return nil
	}
	e.localQuiet = true
	e.drain.locals--
	return o.advance(now, e.drain)
}

// GateQuiet says that the gate of a fenced ID is empty. It is ignored before the fence (model: drain.gate_quiet).
func (o *Owner) GateQuiet(now types.Time, id types.BufferID) []Action {
	return o.settle(now, id, false)
}

// FenceFailed says that an ID could not be fenced: its memory stays pinned and is never reported as free. The reason is
// for the caller's log; here it makes no difference.
func (o *Owner) FenceFailed(now types.Time, id types.BufferID, _ string) []Action {
	return o.settle(now, id, true)
}

func (o *Owner) settle(now types.Time, id types.BufferID, failed bool) []Action {
	e := o.ids[id]
	if e == nil || !e.fenced || e.settled {
		return nil
	}
	e.settled, e.failed = true, failed
	e.drain.gates--
	var out []Action
	if e.reg != nil && e.reg.drain != nil && e.reg.drain != e.drain {
		e.reg.drain.gates-- // its registration waits for it as well
		out = o.advance(now, e.reg.drain)
	}
	if e.state == types.Gone {
		return out // taken along by its registration, which has advanced its drain
	}
	return append(out, o.advance(now, e.drain)...)
}

// advance does whatever has become possible in a drain (model: drain.wait_over).
func (o *Owner) advance(now types.Time, d *drainRun) []Action {
	if o.drains[d.id] == nil {
		return nil
	}
	var out []Action
	if !d.fencing && now >= d.grace && (now >= d.deadline || d.gates == 0 || len(d.wait) == 0 && d.locals == 0) {
		out = o.fence(d)
	}
	if d.fencing && d.gates == 0 && d.locals == 0 {
		out = append(out, o.finish(now, d)...)
	}
	return out
}

// fence closes the gates of all ids, also when everyone acknowledged: a handler may still be inside a chunk. Whoever
// did not acknowledge keeps its connections; it can do nothing more on these ids, and other ids are not its loss
// (model: drain.fence).
func (o *Owner) fence(d *drainRun) []Action {
	d.fencing = true
	d.timedOut = sortedPeers(d.wait)
	for _, peer := range d.timedOut {
		o.leaveWait(d, peer)
	}
	o.counts.timeouts += uint64(len(d.timedOut))
	var out []Action
	var cancel, closing []types.BufferID
	for _, e := range d.ids {
		if e.reg == nil && !e.localQuiet {
			cancel = append(cancel, e.id)
		}
	}
	for _, e := range slices.Concat(d.ids, d.foreign) {
		if !e.fenced {
			e.fenced = true
			closing = append(closing, e.id)
		}
	}
	if len(cancel) > 0 {
		out = append(out, CancelLocal{IDs: cancel})
	}
	if len(closing) > 0 {
		slices.Sort(closing)
		o.counts.fences++
		out = append(out, CloseGates{IDs: closing})
	}
	return out
}

// finish ends the drain: the ids are gone (or quarantined), and the caller may have the memory back (model: drain.ok).
func (o *Owner) finish(now types.Time, d *drainRun) []Action {
	delete(o.drains, d.id)
	delete(o.byNonce, d.nonce)
	o.counts.drained++
	report := DrainReport{
		IDs: idsOf(d.ids), Acknowledged: d.acked, Fenced: d.fenced, TimedOut: d.timedOut, Waited: now - d.start,
	}
	// Grants first: a quarantined one quarantines its registration.
	var others []*drainRun
	for _, e := range slices.Concat(d.ids, d.foreign) {
		if e.reg == nil || e.state == types.Gone {
			continue
		}
		if e.drain != d {
			others = append(others, e.drain)
		}
		o.conclude(e, e.failed)
	}
	for _, e := range d.ids {
		if e.reg == nil {
			o.conclude(e, e.failed || len(e.grants) > 0) // what is left of its grants is quarantined
		}
		report.Quarantined = report.Quarantined || e.state == types.Quarantined
	}
	if d.versions {
		o.nextVersion()
	}
	report.Version = o.version
	var out []Action
	if d.listed {
		o.listing.altered(d.ids)
		out = append(out, o.publish())
	}
	out = append(out, DrainDone{Drain: d.id, Report: report})
	for _, other := range others {
		out = append(out, o.advance(now, other)...)
	}
	return out
}

func (o *Owner) conclude(e *ownedID, quarantine bool) {
	if e.state != types.Draining {
		return
	}
	if quarantine {
		e.state = types.Quarantined
		o.counts.quarantine(e.id)
		return
	}
	o.drop(e)
}

func idsOf(es []*ownedID) []types.BufferID {
	out := make([]types.BufferID, len(es))
	for i, e := range es {
		out[i] = e.id
	}
	return out
}

// later adds a duration without wrapping.
func later(now, d types.Time) types.Time {
	if d > math.MaxInt64-max(now, 0) {
		return math.MaxInt64
	}
	return now + d
}
