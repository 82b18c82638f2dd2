package coherence

import (
	"fmt"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Registration is memory to be registered. Length is in bytes and not zero; Perm is what peers may do with it. Where
// it lies is the engine's affair.
type Registration struct {
	Length          uint64
	Remote          types.Remote
	Perm            types.Perm
	Label, Location string
}

// Register makes one ID per registration, in order, each READY. If any is listed, the batch takes one version and one
// Publish; otherwise nobody else is told and the version stays (model: drain.register).
func (o *Owner) Register(_ types.Time, regs ...Registration) ([]types.BufferID, []Action) {
	out := make([]types.BufferID, 0, len(regs))
	listed := false
	for _, r := range regs {
		e := &ownedID{
			id: o.nextID, state: types.Ready, perm: r.Perm, length: r.Length, remote: r.Remote,
			label: r.Label, location: r.Location, grants: map[types.BufferID]*ownedID{},
		}
		o.nextID++
		o.ids[e.id] = e
		o.counts.registrations++
		out = append(out, e.id)
		listed = listed || e.listed()
		o.listing.registered(e)
	}
	if !listed {
		return out, nil
	}
	o.nextVersion()
	return out, []Action{o.publish()}
}

// Grant lets peers touch ranges of a READY registration. It takes a version that is never published. A grant for one
// peer is told to that peer at once if it has a session; it, and everybody else, can ask for it.
func (o *Owner) Grant(_ types.Time, reg types.BufferID, ranges []types.Range, perm types.Perm, peer types.InstanceID) (Grant, []Action, error) {
	const op = "grant"
	r := o.ids[reg]
	switch {
	case r == nil:
		return Grant{}, nil, errcode.New(errcode.StaleBuffer, op, fmt.Sprintf("buffer %d is not registered", reg)).
			WithHint("register the memory first; IDs are never used again")
	case r.reg != nil:
		return Grant{}, nil, errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("%d is a grant of buffer %d, not a registration", reg, r.reg.id)).
			WithHint("make the grant from the registration")
	case r.state == types.Draining:
		return Grant{}, nil, errcode.New(errcode.DrainingCode, op, fmt.Sprintf("buffer %d is being deregistered", reg))
	case r.state != types.Ready:
		return Grant{}, nil, errcode.New(errcode.Quarantined, op, fmt.Sprintf("buffer %d could not be fenced and is quarantined", reg))
	case perm == 0 || perm&^types.PermReadWrite != 0:
		return Grant{}, nil, errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("permission bits %#x", uint8(perm))).
			WithHint("use r, w or rw")
	case perm&^r.perm != 0:
		return Grant{}, nil, errcode.New(errcode.Permission, op, fmt.Sprintf("permission %v exceeds the registration's %v", perm, r.perm))
	}
	normal, err := types.NormalizeRanges(ranges, r.length)
	if err != nil {
		return Grant{}, nil, errcode.New(errcode.OutOfBounds, op, fmt.Sprintf("buffer %d: %v", reg, err))
	}
	e := &ownedID{id: o.nextID, reg: r, state: types.Ready, perm: perm, peer: peer, ranges: normal}
	o.nextID++
	o.ids[e.id] = e
	r.grants[e.id] = e
	o.counts.grants++
	g := e.offer(o.nextVersion())
	if h := o.peers[peer]; h != nil && h.alive {
		return g, []Action{SendGrant{Peer: peer, Grant: g}}, nil
	}
	return g, nil, nil
}

// GrantQuery answers a peer that was handed an ID it does not know.
func (o *Owner) GrantQuery(_ types.Time, peer types.InstanceID, id types.BufferID) []Action {
	e := o.ids[id]
	switch {
	case e == nil:
		return []Action{SendGrantRefused{Peer: peer, ID: id, Code: o.goneCode(id)}}
	case !e.concerns(peer):
		return []Action{SendGrantRefused{Peer: peer, ID: id, Code: errcode.Permission}}
	case e.state != types.Ready:
		return []Action{SendGrantRefused{Peer: peer, ID: id, Code: e.goneCode()}}
	}
	return []Action{SendGrant{Peer: peer, Grant: e.offer(o.version)}}
}
