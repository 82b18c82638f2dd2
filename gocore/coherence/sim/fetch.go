package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// call is one Describe under way: a request, then an answer of any age.
type call struct {
	pe  *peer
	ans *descriptor.Descriptor
	// split is the listing that a mutant labels with a later version.
	split []descriptor.Buffer
	late  types.Time // until when the answer is under way
}

func (w *world) callStep() bool {
	w.calls = slices.DeleteFunc(w.calls, func(c *call) bool { return c.pe.p.dead })
	return w.any(len(w.calls), func(i int) bool {
		c := w.calls[i]
		if !c.pe.p.running() || w.now < c.late && !w.healing || w.scene.holds(c.pe.p, c) {
			return false
		}
		if c.ans == nil {
			return c.sample()
		}
		w.calls = slices.Delete(w.calls, i, i+1)
		c.deliver()
		return true
	})
}

// sample asks the owner, or fails.
func (c *call) sample() bool {
	pe := c.pe
	w := pe.p.w
	q := w.hosts[pe.host]
	fail := func() bool {
		w.did(FetchFails)
		w.calls = slices.DeleteFunc(w.calls, func(o *call) bool { return o == c })
		pe.calling = false
		pe.do(pe.view.RefreshFailed(w.now, errcode.PeerUnreachable))
		return true
	}
	switch {
	case q == nil || !q.running():
		return fail()
	case q.inst != pe.inst:
		fail()
		pe.gone()
		return true
	case w.possible(DescribeFails, 3):
		return fail()
	}
	if w.possible(DescribeLate, 4) {
		c.late = w.now + types.Time(1+w.rng.IntN(3000))*types.Millisecond
		w.disturb(pe.p, q, "a Describe took long")
	}
	version, bufs := q.owner.Describe()
	if w.cfg.mutant == splitDescribe {
		if c.split == nil {
			c.split = append([]descriptor.Buffer{}, bufs...)
			return true
		}
		bufs = c.split
	}
	c.ans = &descriptor.Descriptor{Head: descriptor.Head{Name: "sim", Instance: q.inst, Version: version}, Buffers: bufs}
	return true
}

// deliver hands the answer to the view; sometimes an older or a broken one instead, as a store or a bug might.
func (c *call) deliver() {
	pe := c.pe
	w := pe.p.w
	pe.calling = false
	if pe.replaced {
		return
	}
	d := w.spoil(pe, c.ans)
	w.did(FetchEnds)
	before := pe.view.Descriptor()
	change, acts, err := pe.view.Adopt(w.now, d)
	after := pe.view.Descriptor()
	if err != nil && after != before {
		w.violate("S7", "an invalid descriptor (%v) replaced a valid one", err)
	}
	if change.Adopted && after != d {
		w.violate("S7", "what was adopted is not what was fetched")
	}
	w.trace("%s adopts version %d of %s: %v %v", pe.p.inst.Short(), d.Version, pe.inst.Short(), change.Adopted, err)
	pe.do(acts)
	if pe.shadow != nil {
		_, acts, _ := pe.shadow.Adopt(w.now, d)
		pe.doShadow(acts)
	}
}

// doShadow carries out what a mutant's second view asks for: nothing but fetches, which the first one makes.
func (pe *peer) doShadow(acts []coherence.Action) {
	for _, a := range acts {
		if _, ok := a.(coherence.Refresh); ok {
			pe.shadow.RefreshFailed(pe.p.w.now, errcode.PeerUnreachable)
			pe.do(pe.view.RefreshNow(pe.p.w.now, "second name"))
		}
	}
}

// spoil makes a descriptor old, invalid, or another instance's, as a store or a bug might.
func (w *world) spoil(pe *peer, d *descriptor.Descriptor) *descriptor.Descriptor {
	bad := *d
	switch {
	case w.possible(DescribeOther, 4):
		bad.Instance[3]++
	case w.possible(DescribeBroken, 4):
		bad.Version += 1000
		bad.Buffers = slices.Clone(d.Buffers)
		if len(bad.Buffers) > 0 && w.chance(2) {
			bad.Buffers[0].Length = 0
			break
		}
		twice := descriptor.Buffer{ID: 1, Length: 1, Perm: types.PermRead, State: types.Ready}
		bad.Buffers = append(bad.Buffers, twice, twice)
	case w.possible(DescribeOld, 4):
		q := w.find(pe.inst)
		v := q.versions[max(0, len(q.versions)-1-w.rng.IntN(12))]
		if v < d.Version {
			bad.Version, bad.Buffers = v, q.history[v]
		}
	}
	return &bad
}
