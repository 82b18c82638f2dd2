package coherence

import (
	"slices"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// owedDrain is a DRAIN whose acknowledgement waits for counts to reach 0.
type owedDrain struct {
	nonce   types.Nonce
	ids     []types.BufferID
	pending int // ids with a count
	cutAt   types.Time
	cut     bool
}

// Enter makes n requests count on id, unless its gate is shut. They count until remote quiet, told by Leave. The ID need
// not be known yet (model: drain.enter).
func (v *View) Enter(id types.BufferID, n uint64) errcode.Code {
	if v.replaced {
		return errcode.StaleInstance
	}
	if v.closed.Has(id) {
		return v.closedCode(id)
	}
	if n > 0 {
		v.counts[id] += n
		v.total += n
	}
	return errcode.OK
}

// Leave says that n requests on id are remotely quiet: completed, not applied, answered, or their path retired. Local
// quiet is not enough: what was cut may still sit in a socket and land after the acknowledgement.
func (v *View) Leave(now types.Time, id types.BufferID, n uint64) []Action {
	have := v.counts[id]
	if n > have {
		v.breach("more requests left an ID than had entered")
		n = have
	}
	v.total -= n
	if have -= n; have > 0 {
		v.counts[id] = have
		return nil
	}
	delete(v.counts, id)
	waiting := v.closing[id]
	if waiting == nil {
		return nil
	}
	delete(v.closing, id)
	var acts []Action
	for _, d := range waiting {
		if d.pending--; d.pending == 0 {
			v.owed = slices.DeleteFunc(v.owed, func(o *owedDrain) bool { return o == d })
			acts = v.acknowledge(SendDrainAck{Nonce: d.nonce, IDs: d.ids}, acts)
		}
	}
	return acts
}

// acknowledge promises for the life of our instance, on the session, or on the next one. Without any path the owner
// fences nobody by waiting for us, and it asks again on the next session (model: drain.acknowledge).
func (v *View) acknowledge(a SendDrainAck, acts []Action) []Action {
	if v.session {
		v.stats.DrainsAcked++
		return append(acts, a)
	}
	v.acks = append(v.acks, a)
	v.dropMootAcks()
	return acts
}

// dropMootAcks forgets acknowledgements of a peer that we have no session, path or token with, so that they do not keep
// the view of a dead peer for ever. Were it alive, it would ask again.
func (v *View) dropMootAcks() {
	if !v.session && len(v.paths) == 0 && v.attaching == 0 && len(v.retires) == 0 {
		v.acks = nil
	}
}

// OnDrain shuts the gates of ids, also of ones never heard of, and acknowledges once nothing counts on any of them. What
// waits or is queued on them ends by GrantResolved; what is on its way may finish, until CutOperations
// (model: drain.promise).
func (v *View) OnDrain(
	now types.Time, ids []types.BufferID, version types.Version, within types.Time, nonce types.Nonce,
) []Action {
	if v.replaced {
		return nil
	}
	var acts []Action
	listed := false
	for _, id := range ids {
		listed = listed || v.listed(id) != nil
	}
	acts = v.shut(ids, acts)
	d := v.owedPart(nonce, ids)
	switch {
	case d != nil: // sent again on a new session: nothing changes, its clock least of all
	case !v.counting(ids):
		acts = v.acknowledge(SendDrainAck{Nonce: nonce, IDs: slices.Clone(ids)}, acts)
	default:
		d = &owedDrain{nonce: nonce, ids: dedup(ids), cutAt: now + types.Time(float64(max(within, 0))*v.cfg.CutFraction)}
		for _, id := range d.ids {
			if v.counts[id] > 0 {
				d.pending++
				v.closing[id] = append(v.closing[id], d)
			}
		}
		v.owed = append(v.owed, d)
		acts = v.cutIfDue(now, d, acts)
	}
	if listed { // revoking a grant changes nothing that Describe would show
		return append(acts, v.heard(now, version, "drain")...)
	}
	return acts
}

// maxClosedSpans bounds the memory of shut gates. An owner whose IDs are more scattered than that has some shut that it
// did not name: its own loss.
const maxClosedSpans = 1 << 18

// shut closes the gates of ids for ever and ends what waits for them or is queued on them.
func (v *View) shut(ids []types.BufferID, acts []Action) []Action {
	fresh := make([]types.BufferID, 0, len(ids))
	for _, id := range ids {
		if v.closed.Has(id) {
			continue
		}
		fresh = append(fresh, id)
		v.forgetGrant(id)
		delete(v.refused, id)
		if v.waiting[id] != nil || v.counts[id] > 0 {
			delete(v.waiting, id)
			acts = append(acts, GrantResolved{ID: id, Code: errcode.DrainingCode})
		}
	}
	v.closed.AddAll(fresh)
	v.closed.coarsen(maxClosedSpans)
	return acts
}

// cutIfDue gives up what still counts, early enough for RETIRE and the acknowledgement to arrive before D.
func (v *View) cutIfDue(now types.Time, d *owedDrain, acts []Action) []Action {
	if d.cut || now < d.cutAt {
		return acts
	}
	d.cut = true
	v.stats.DrainsCut++
	left := make([]types.BufferID, 0, d.pending)
	for _, id := range d.ids {
		if v.counts[id] > 0 {
			left = append(left, id)
		}
	}
	return append(acts, CutOperations{IDs: left})
}

// owedPart finds what is owed for a DRAIN that comes again. A large drain comes in parts, alike but for their ids, and
// each is acknowledged by itself.
func (v *View) owedPart(nonce types.Nonce, ids []types.BufferID) *owedDrain {
	for _, d := range v.owed {
		if d.nonce == nonce && len(ids) > 0 && slices.Contains(d.ids, ids[0]) {
			return d
		}
	}
	return nil
}

func (v *View) counting(ids []types.BufferID) bool {
	return slices.ContainsFunc(ids, func(id types.BufferID) bool { return v.counts[id] > 0 })
}

func dedup(ids []types.BufferID) []types.BufferID {
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}
