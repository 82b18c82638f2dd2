package coherence

import (
	"cmp"
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const (
	// negativeTTL is how long a refused GRANT_QUERY is believed.
	negativeTTL = types.Second
	// maxGrants bounds what owners can make us remember. Grants that nothing counts on can be asked for again.
	maxGrants = 1 << 17
	// maxGrantRanges bounds the ranges of all of them together.
	maxGrantRanges = 1 << 22
)

// wait is an ID that operations wait to hear about.
type wait struct {
	asked   bool          // on the present session
	floor   types.Version // the largest floor when it was asked
	want    types.Version // the oldest knowledge that helps
	expired bool          // known, but only from a snapshot past its hard TTL
}

// Binding is what an operation is bound to: an ID, and how new the knowledge was that called it READY. Whoever posts
// compares the version with the floor of the path it chose.
type Binding struct {
	ID      types.BufferID
	Version types.Version
	Length  uint64
}

// AdoptGrant takes a GRANT, made for us or asked for. One for an ID whose gate is shut is ignored: the DRAIN overtook
// it on another session, and promises are for ever (model: drain.adopt).
func (v *View) AdoptGrant(now types.Time, g Grant) []Action {
	if v.replaced || v.closed.Has(g.ID) {
		return nil
	}
	delete(v.refused, g.ID)
	if old := v.grants[g.ID]; old == nil || g.Version > old.Version {
		v.forgetGrant(g.ID)
		if len(v.grants) >= maxGrants || v.ranges+len(g.Ranges) > maxGrantRanges {
			v.forgetIdleGrants()
		}
		if v.ranges+len(g.Ranges) > maxGrantRanges {
			return v.refuse(now, g.ID, errcode.ResourceExhausted)
		}
		v.grants[g.ID] = &g
		v.ranges += len(g.Ranges)
	}
	acts := v.answer(now, g.ID, nil)
	if w := v.waiting[g.ID]; w != nil && w.asked && v.session && w.floor < w.want {
		return v.query(g.ID, w, acts) // sampled before the floor rose: the next answer will be newer
	}
	return acts
}

func (v *View) forgetIdleGrants() {
	for id := range v.grants {
		if v.counts[id] == 0 {
			v.forgetGrant(id)
		}
	}
}

func (v *View) forgetGrant(id types.BufferID) {
	if g := v.grants[id]; g != nil {
		v.ranges -= len(g.Ranges)
		delete(v.grants, id)
	}
}

// GrantRefused takes the owner's answer that there is no such grant for us. What nobody asked for is ignored.
func (v *View) GrantRefused(now types.Time, id types.BufferID, code errcode.Code) []Action {
	if v.replaced || v.waiting[id] == nil && v.counts[id] == 0 {
		return nil
	}
	if code >= errcode.OK {
		code = errcode.Internal // a refusal is never a success
	}
	return v.refuse(now, id, code)
}

func (v *View) refuse(now types.Time, id types.BufferID, code errcode.Code) []Action {
	v.forgetGrant(id)
	if code == errcode.Revoked {
		v.closed.Add(id) // IDs are never used again
		v.closed.coarsen(maxClosedSpans)
	} else {
		if len(v.refused) == 0 {
			v.sweepAt = now + negativeTTL
		}
		v.refused[id] = refusal{code: code, until: now + negativeTTL}
	}
	delete(v.waiting, id)
	return []Action{GrantResolved{ID: id, Code: code}}
}

// Resolve says whether an operation may be bound to id. WaitTimeout means that it is not known, or only from knowledge
// older than the floor of every path: the owner is being asked and GrantResolved will come. OK may also come with
// actions: newer knowledge, for the paths with a higher floor, is then on its way and GrantResolved follows it
// (model: replace.bind).
func (v *View) Resolve(now types.Time, id types.BufferID) (Binding, errcode.Code, []Action) {
	if v.replaced {
		return Binding{}, errcode.StaleInstance, nil
	}
	if v.closed.Has(id) {
		return Binding{}, v.closedCode(id), v.stillDraining(now, id)
	}
	acts := v.agedOut(now, nil)
	b, code := v.lookup(id)
	switch {
	case code == errcode.WaitTimeout:
		if r, ok := v.refused[id]; ok && now < r.until {
			return Binding{}, r.code, acts
		}
		return Binding{}, code, v.ask(now, id, v.minFloor, false, acts)
	case code != errcode.OK:
		return Binding{}, code, acts
	case v.expired(now):
		if v.refresh.forced == "" {
			v.refresh.forced = "hard TTL passed"
		}
		return Binding{}, errcode.WaitTimeout, v.ask(now, id, 0, true, acts)
	case len(v.paths) == 0 || b.Version >= v.maxFloor:
		return b, errcode.OK, acts
	case b.Version >= v.minFloor:
		return b, errcode.OK, v.ask(now, id, v.maxFloor, false, acts)
	}
	return Binding{}, errcode.WaitTimeout, v.ask(now, id, v.minFloor, false, acts)
}

// lookup is what descriptor and grants say, whatever the gates and floors: OK, DRAINING, STALE_BUFFER or WaitTimeout.
func (v *View) lookup(id types.BufferID) (Binding, errcode.Code) {
	g := v.grants[id]
	if buf := v.listed(id); buf != nil && (g == nil || v.desc.Version >= g.Version) {
		switch buf.State {
		case types.Ready:
			return Binding{ID: id, Version: v.desc.Version, Length: buf.Length}, errcode.OK
		case types.Draining:
			return Binding{}, errcode.DrainingCode
		default:
			return Binding{}, errcode.StaleBuffer
		}
	}
	if g != nil {
		return Binding{ID: id, Version: g.Version, Length: g.Length}, errcode.OK
	}
	return Binding{}, errcode.WaitTimeout
}

func (v *View) listed(id types.BufferID) *descriptor.Buffer {
	if v.desc == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(v.desc.Buffers, id, func(b descriptor.Buffer, id types.BufferID) int {
		return cmp.Compare(b.ID, id)
	})
	if !ok {
		return nil
	}
	return &v.desc.Buffers[i]
}

// closedCode tells why a gate is shut: a drain under way, or one that is over as far as we know.
func (v *View) closedCode(id types.BufferID) errcode.Code {
	if v.counts[id] > 0 || v.listed(id) != nil {
		return errcode.DrainingCode
	}
	return errcode.Revoked
}

// stillDraining looks, where no session tells, whether the drain of an ID with a shut gate is over. Without that the
// answer would be DRAINING for ever: nothing else asks a peer that nobody has work for.
func (v *View) stillDraining(now types.Time, id types.BufferID) []Action {
	if v.session || v.counts[id] > 0 || v.listed(id) == nil {
		return nil
	}
	if v.refresh.forced == "" {
		v.refresh.forced = "a drained buffer is still listed"
	}
	return v.refreshIfDue(now, nil)
}

// Check applies permission and S11 to an ID that Resolve bound.
func (v *View) Check(id types.BufferID, op types.Op, off, n uint64) errcode.Code {
	if v.replaced {
		return errcode.StaleInstance
	}
	perm := types.Perm(0)
	inside := false
	switch g, buf := v.grants[id], v.listed(id); {
	case buf != nil && (g == nil || v.desc.Version >= g.Version):
		perm, inside = buf.Perm, types.Range{Len: buf.Length}.Contains(off, n)
	case g != nil:
		perm, inside = g.Perm, types.FindRange(g.Ranges, off, n) >= 0
	default:
		return errcode.StaleBuffer
	}
	switch {
	case !perm.Allows(op):
		return errcode.Permission
	case !inside:
		return errcode.OutOfBounds
	}
	return errcode.OK
}

// ask sends one GRANT_QUERY per ID and session, or starts a refresh where nothing at all is known. want is the oldest
// knowledge that helps.
func (v *View) ask(now types.Time, id types.BufferID, want types.Version, expired bool, acts []Action) []Action {
	w := v.waiting[id]
	if w == nil {
		w = &wait{want: want}
		v.waiting[id] = w
	}
	w.want = min(w.want, want)
	w.expired = w.expired || expired
	if v.session && !w.asked {
		acts = v.query(id, w, acts)
	}
	return v.refreshIfDue(now, acts)
}

func (v *View) query(id types.BufferID, w *wait, acts []Action) []Action {
	w.asked, w.floor = true, v.maxFloor
	return append(acts, SendGrantQuery{ID: id})
}

// answer resolves the operations that wait for id, if what is known now helps them.
func (v *View) answer(now types.Time, id types.BufferID, acts []Action) []Action {
	w := v.waiting[id]
	if w == nil {
		return acts
	}
	b, code := v.lookup(id)
	if code == errcode.WaitTimeout || (w.expired && v.expired(now)) || (code == errcode.OK && b.Version < w.want) {
		return acts
	}
	delete(v.waiting, id)
	return append(acts, GrantResolved{ID: id, Code: code})
}

// resolveListed answers every waiting ID that the descriptor now lists.
func (v *View) resolveListed(now types.Time, acts []Action) []Action {
	for _, id := range v.waitingIDs() {
		acts = v.answer(now, id, acts)
	}
	return acts
}

// waitingIDs is sorted so that equal histories give equal actions.
func (v *View) waitingIDs() []types.BufferID {
	if len(v.waiting) == 0 {
		return nil
	}
	ids := make([]types.BufferID, 0, len(v.waiting))
	for id := range v.waiting {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
