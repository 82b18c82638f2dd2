package engine

import (
	"slices"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/types"
)

// fenceLimit is how long a closed gate may stay occupied before the memory is quarantined. A handler is inside only for
// one non-blocking copy, so this means a thread stuck in the kernel (a page that cannot be read in, for example).
const fenceLimit = 10 * time.Second

// apply carries one action of the Owner out. Callers hold mu; nothing here blocks.
func (m *memory) apply(a coherence.Action) {
	switch a := a.(type) {
	case coherence.Publish:
		m.e.metrics.Publishes.Inc()
		ev := &controlpb.Event{Kind: &controlpb.Event_Invalidate{Invalidate: &controlpb.Invalidate{
			Version: uint64(a.Version), What: "buffers",
		}}}
		for peer := range m.sessions {
			m.send(peer, ev)
		}
		if meta := m.e.meta; meta != nil && meta.announcer != nil {
			meta.announcer.Changed(a.Version)
		}
	case coherence.SendGrant:
		m.send(a.Peer, grantEvent(a.Grant))
	case coherence.SendGrantRefused:
		m.send(a.Peer, &controlpb.Event{Kind: &controlpb.Event_GrantRefused{GrantRefused: &controlpb.GrantRefused{
			Id: uint64(a.ID), Code: int32(a.Code),
		}}})
	case coherence.SendDrain:
		for ids := range slices.Chunk(a.IDs, control.MaxIDs) { // the peer acknowledges part by part
			m.send(a.Peer, &controlpb.Event{Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{
				Ids: toWire(ids), Version: uint64(a.Version), WithinNs: int64(a.Within), Nonce: uint64(a.Nonce),
			}}})
		}
	case coherence.SendAttached:
		m.send(a.Peer, attachedEvent(a, m.e.server.Addresses()))
	case coherence.SendRetired:
		m.e.metrics.Retires.WithLabelValues("answered").Inc()
		m.send(a.Peer, &controlpb.Event{Kind: &controlpb.Event_Retired{Retired: &controlpb.Retired{Nonce: uint64(a.Nonce)}}})
	case coherence.RefuseNew:
		m.refuseNew(a.IDs)
	case coherence.CancelLocal:
		m.cancelLocal(a.IDs)
	case coherence.CloseGates:
		m.closeGates(a.IDs)
	case coherence.KillConns:
		for _, token := range a.Tokens {
			if c := m.conns[token]; c != nil {
				c.Kill(errcode.New(errcode.Fenced, "serve peer", "the connection was retired or fenced"))
			}
		}
	case coherence.DrainDone:
		m.drainDone(a)
	}
}

// refuseNew turns READY into DRAINING where the data path looks (model: drain.ready_to_draining).
func (m *memory) refuseNew(ids []types.BufferID) {
	for _, id := range ids {
		if g := m.grantOf(id); g != nil {
			g.state.Store(uint32(types.Draining))
		}
		if r, ok := m.registration(id); ok {
			r.local.Close()
			m.whenQuiet(&r.local, 0, func(types.Time) []coherence.Action { return m.owner.LocalQuiet(m.e.now(), id) }, nil)
		}
	}
}

// closeGates is the fence of TCP and same-host paths: nobody enters another chunk, and who is inside leaves
// (model: drain.fence).
func (m *memory) closeGates(ids []types.BufferID) {
	for _, id := range ids {
		quiet := func(now types.Time) []coherence.Action { return m.owner.GateQuiet(now, id) }
		g := m.grantOf(id)
		if g == nil { // a registration without a grant of its own: peers never had a way in
			m.feeds = append(m.feeds, quiet)
			continue
		}
		g.gate.Close()
		m.whenQuiet(&g.gate, fenceLimit, quiet, func(now types.Time) []coherence.Action {
			return m.owner.FenceFailed(now, id, "a handler is still inside the memory")
		})
	}
}

// whenQuiet feeds an event once a closed gate is empty; with a limit, another one if that takes too long
// (model: drain.gate_quiet).
func (m *memory) whenQuiet(g *gate.Gate, limit time.Duration, quiet, tooLong func(types.Time) []coherence.Action) {
	if g.IsQuiet() {
		m.feeds = append(m.feeds, quiet)
		return
	}
	m.e.spawn(func() {
		feed := func(f func(types.Time) []coherence.Action) {
			m.do(func(_ *coherence.Owner, now types.Time) []coherence.Action { return f(now) })
		}
		var expired <-chan time.Time
		if limit > 0 {
			timer := time.NewTimer(limit)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-g.Quiet():
			feed(quiet)
		case <-expired:
			feed(tooLong)
		case <-m.e.ctx.Done():
		}
	})
}

// cancelLocal ends our own batches that use these registrations, by the rules of local quiet.
func (m *memory) cancelLocal(ids []types.BufferID) {
	doomed := map[types.BufferID]bool{}
	for _, id := range ids {
		doomed[id] = true
	}
	m.e.spawn(func() { // batches are cancelled under their peers' locks, which stand before ours
		for _, b := range m.e.liveBatches() {
			for _, r := range b.locals {
				if doomed[r.id] {
					b.cancel(errcode.DrainingCode, sprintf("local buffer %d is being deregistered", r.id))
					break
				}
			}
			b.release(1)
		}
	})
}

func grantEvent(g coherence.Grant) *controlpb.Event {
	ranges := make([]*controlpb.Range, len(g.Ranges))
	for i, r := range g.Ranges {
		ranges[i] = &controlpb.Range{Offset: r.Off, Length: r.Len}
	}
	return &controlpb.Event{Kind: &controlpb.Event_Grant{Grant: &controlpb.GrantInfo{
		Id: uint64(g.ID), Ranges: ranges, Perm: uint32(g.Perm), Version: uint64(g.Version), Length: g.Length, Label: g.Label,
	}}}
}

func attachedEvent(a coherence.SendAttached, data []string) *controlpb.Event {
	return &controlpb.Event{Kind: &controlpb.Event_Attached{Attached: &controlpb.Attached{
		Request: uint64(a.Request), Tokens: toWire(a.Tokens), Floor: uint64(a.Floor), Version: uint64(a.Version),
		// A clipped list is safe: the floor makes the peer describe before it uses the path.
		NonReady: toWire(a.NonReady[:min(len(a.NonReady), control.MaxIDs)]), DataAddresses: data,
	}}}
}
