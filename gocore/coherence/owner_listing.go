package coherence

import (
	"slices"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// listing is what Describe tells: the listed buffers that are READY or DRAINING, sorted. With many of them, one change
// must not cost what all of them cost: registrations are appended (IDs grow), and what changed or went is put right when
// somebody looks.
type listing struct {
	// buffers is shared with every caller of Describe: elements below its length never change. nil: to be made anew.
	buffers []descriptor.Buffer
	changed []*ownedID // since, other than by having been registered
}

// registered adds a new ID, higher than all before.
func (l *listing) registered(e *ownedID) {
	if l.buffers != nil && e.listed() {
		l.buffers = append(l.buffers, e.buffer())
	}
}

// altered notes IDs whose state changed. What nobody looks at is dropped rather than kept up to date.
func (l *listing) altered(ids []*ownedID) {
	if l.buffers == nil {
		return
	}
	if len(l.changed)+len(ids) > len(l.buffers)/4+64 {
		l.buffers, l.changed = nil, nil
		return
	}
	for _, e := range ids {
		if e.listed() {
			l.changed = append(l.changed, e)
		}
	}
}

// look returns the present buffers.
func (l *listing) look(ids map[types.BufferID]*ownedID) []descriptor.Buffer {
	switch {
	case l.buffers == nil:
		l.buffers = []descriptor.Buffer{}
		for _, e := range ids {
			if e.listed() && e.visible() {
				l.buffers = append(l.buffers, e.buffer())
			}
		}
		slices.SortFunc(l.buffers, func(a, b descriptor.Buffer) int { return compareIDs(a.ID, b.ID) })
	case len(l.changed) > 0:
		l.buffers = slices.Clone(l.buffers)
		for _, e := range l.changed {
			i, found := slices.BinarySearchFunc(l.buffers, e.id, func(b descriptor.Buffer, id types.BufferID) int {
				return compareIDs(b.ID, id)
			})
			if found {
				l.buffers[i].State = e.state
			}
		}
		l.buffers = slices.DeleteFunc(l.buffers, func(b descriptor.Buffer) bool { return !shown(b.State) })
		l.changed = nil
	}
	return slices.Clip(l.buffers)
}

func (e *ownedID) buffer() descriptor.Buffer {
	return descriptor.Buffer{
		ID: e.id, Length: e.length, State: e.state, Perm: e.perm, Label: e.label, Location: e.location,
	}
}

// visible says whether an ID in this state stands in the descriptor, if it is listed at all.
func (e *ownedID) visible() bool { return shown(e.state) }

func shown(s types.State) bool { return s == types.Ready || s == types.Draining }
