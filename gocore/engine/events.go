package engine

import (
	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Event takes one event of a session, in order: see control.Handler. Half of the kinds are for the owner of memory, half
// for the reader of a peer.
func (e *Engine) Event(s control.Session, ev *controlpb.Event) {
	id := s.Peer()
	switch k := ev.GetKind().(type) {
	case *controlpb.Event_Attach:
		e.owner(func(o *coherence.Owner, now types.Time) []coherence.Action {
			return o.Attach(now, id, types.Nonce(k.Attach.GetRequest()), int(min(k.Attach.GetConnections(), 1<<10)))
		})
	case *controlpb.Event_GrantQuery:
		e.owner(func(o *coherence.Owner, now types.Time) []coherence.Action {
			return o.GrantQuery(now, id, types.BufferID(k.GrantQuery.GetId()))
		})
	case *controlpb.Event_DrainAck:
		e.owner(func(o *coherence.Owner, now types.Time) []coherence.Action {
			return o.DrainAck(now, id, types.Nonce(k.DrainAck.GetNonce()), fromWire[types.BufferID](k.DrainAck.GetIds()))
		})
	case *controlpb.Event_Retire:
		tokens := fromWire[types.PathID](k.Retire.GetTokens())
		e.owner(func(o *coherence.Owner, now types.Time) []coherence.Action {
			return o.Retire(now, id, types.Nonce(k.Retire.GetNonce()), tokens)
		})
	case *controlpb.Event_Notify:
		e.notified(s, k.Notify)
	default:
		e.readerEvent(id, ev)
	}
}

func (e *Engine) owner(event func(*coherence.Owner, types.Time) []coherence.Action) {
	e.memory.do(event)
}

// readerEvent is what a peer's owner tells us about its memory.
func (e *Engine) readerEvent(id types.InstanceID, ev *controlpb.Event) {
	p := e.peerIfKnown(id)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := e.now()
	switch k := ev.GetKind().(type) {
	case *controlpb.Event_Heartbeat:
		p.run(p.view.Heartbeat(now, types.Version(k.Heartbeat.GetVersion()), types.Version(k.Heartbeat.GetFloor())))
		if e.meta != nil { // a sign of life keeps its names fresh, whatever the store does
			e.meta.resolver.Heartbeat(id, k.Heartbeat.GetStoreId(), k.Heartbeat.GetOwnerEpoch())
		}
	case *controlpb.Event_Invalidate:
		p.run(p.view.Invalidate(now, types.Version(k.Invalidate.GetVersion())))
	case *controlpb.Event_Attached:
		p.attached(k.Attached)
	case *controlpb.Event_Grant:
		p.run(p.view.AdoptGrant(now, grantFrom(k.Grant)))
	case *controlpb.Event_GrantRefused:
		p.run(p.view.GrantRefused(now, types.BufferID(k.GrantRefused.GetId()), errcode.FromWire(k.GrantRefused.GetCode())))
	case *controlpb.Event_Drain:
		d := k.Drain
		p.run(p.view.OnDrain(now, fromWire[types.BufferID](d.GetIds()), types.Version(d.GetVersion()), types.Time(d.GetWithinNs()), types.Nonce(d.GetNonce())))
	case *controlpb.Event_Retired:
		p.run(p.view.Retired(now, types.Nonce(k.Retired.GetNonce())))
	case *controlpb.Event_NotifyAck:
		p.notifyAcked(k.NotifyAck)
	default:
		e.log.Debug("event of an unknown kind skipped", "peer", id.Short())
		return
	}
	p.pump()
}

func grantFrom(g *controlpb.GrantInfo) coherence.Grant {
	ranges := make([]types.Range, len(g.GetRanges()))
	for i, r := range g.GetRanges() {
		ranges[i] = types.Range{Off: r.GetOffset(), Len: r.GetLength()}
	}
	return coherence.Grant{
		ID: types.BufferID(g.GetId()), Ranges: ranges, Perm: types.Perm(g.GetPerm()),
		Version: types.Version(g.GetVersion()), Length: g.GetLength(), Label: g.GetLabel(),
	}
}
