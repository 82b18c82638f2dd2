package coherence

import (
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// ownedID is one registration or one grant, until it is gone.
type ownedID struct {
	id    types.BufferID
	reg   *ownedID // the registration that a grant is of; nil for a registration
	state types.State
	perm  types.Perm

	// registration
	length          uint64
	remote          types.Remote
	label, location string
	grants          map[types.BufferID]*ownedID // not gone

	// grant
	peer   types.InstanceID // zero: nobody in particular
	ranges []types.Range    // normalized

	// drain
	drain      *drainRun // that took it from READY
	fenced     bool      // CloseGates was issued
	settled    bool      // nobody is inside its gate any more, or the fence failed
	failed     bool      // the fence failed: will be quarantined
	localQuiet bool      // registration: no operation of our own uses it as local memory
}

// listed says whether it stands in the descriptor.
func (e *ownedID) listed() bool { return e.reg == nil && e.remote == types.RemoteAll }

// remotely says whether a peer could use this ID at all.
func (e *ownedID) remotely() bool { return e.reg != nil || e.remote == types.RemoteAll }

// concerns says whether this peer may use it: of the drain's ids these go into its DRAIN.
func (e *ownedID) concerns(peer types.InstanceID) bool {
	return e.remotely() && (e.peer.IsZero() || e.peer == peer)
}

// allows checks who, permission and bounds (S11).
func (e *ownedID) allows(peer types.InstanceID, op types.Op, off, n uint64) errcode.Code {
	if !e.concerns(peer) || !e.perm.Allows(op) {
		return errcode.Permission
	}
	if e.reg == nil {
		if !(types.Range{Len: e.length}).Contains(off, n) {
			return errcode.OutOfBounds
		}
	} else if types.FindRange(e.ranges, off, n) < 0 {
		return errcode.OutOfBounds
	}
	return errcode.OK
}

// offer is what a peer is told about it, sampled now (model: drain.describe).
func (e *ownedID) offer(now types.Version) Grant {
	g := Grant{ID: e.id, Ranges: e.ranges, Perm: e.perm, Version: now}
	reg := e.reg
	if reg == nil {
		reg = e
		g.Ranges = []types.Range{{Len: e.length}}
	}
	g.Length, g.Label = reg.length, reg.label
	return g
}

// Check is the reference of admission: may this peer start something new on the ID? DRAINING admits nothing new.
func (o *Owner) Check(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	e := o.ids[id]
	switch {
	case e == nil:
		return o.goneCode(id)
	case !e.concerns(peer):
		return errcode.Permission
	case e.state == types.Draining:
		return errcode.DrainingCode
	case e.state != types.Ready:
		return e.goneCode()
	}
	return e.allows(peer, op, off, n)
}

// CheckChunk is the reference for one chunk of a request that was admitted: DRAINING lets it finish until the fence.
func (o *Owner) CheckChunk(peer types.InstanceID, id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	e := o.ids[id]
	switch {
	case e == nil:
		return o.goneCode(id)
	case e.fenced || e.state == types.Quarantined:
		return e.goneCode()
	}
	return e.allows(peer, op, off, n)
}

// goneCode is what a fenced or quarantined ID answers.
func (e *ownedID) goneCode() errcode.Code {
	if e.reg != nil {
		return errcode.Revoked
	}
	return errcode.StaleBuffer
}

// Describe samples the version and the listed buffers together. The buffers are shared between calls and must not be
// changed (model: drain.describe).
func (o *Owner) Describe() (types.Version, []descriptor.Buffer) {
	return o.version, o.listing.look(o.ids)
}

// IDsOf lists the grants of a registration that are not gone, sorted.
func (o *Owner) IDsOf(reg types.BufferID) []types.BufferID {
	e := o.ids[reg]
	if e == nil {
		return nil
	}
	return sortedIDs(e.grants)
}

// nonReady lists what is there but not READY and concerns this peer, sorted.
func (o *Owner) nonReady(peer types.InstanceID) []types.BufferID {
	var out []types.BufferID
	for _, d := range o.drains {
		for _, e := range d.ids {
			if e.state == types.Draining && e.concerns(peer) {
				out = append(out, e.id)
			}
		}
	}
	for id := range o.counts.quarantined {
		if e := o.ids[id]; e.concerns(peer) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// drop takes an ID out of the table for ever.
func (o *Owner) drop(e *ownedID) {
	e.state = types.Gone
	delete(o.ids, e.id)
	if e.reg == nil {
		return
	}
	delete(e.reg.grants, e.id)
	o.revoked.Add(e.id)
	for o.revoked.Intervals() > o.cfg.RememberRevoked {
		o.revoked.dropBelow(o.revoked.spans[0].hi + 1)
	}
}

func compareIDs(a, b types.BufferID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func sortedIDs[V any](m map[types.BufferID]V) []types.BufferID {
	out := make([]types.BufferID, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
