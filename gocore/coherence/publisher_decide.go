package coherence

import (
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// answered notes that the store does its work.
func (p *Publisher) answered(now types.Time) {
	p.retry.reset()
	p.notBefore = now
}

// failed notes an attempt that brought nothing; one more may be made in the next slot.
func (p *Publisher) failed(now types.Time, code errcode.Code, acts []Action) []Action {
	p.stats.Failures++
	p.notBefore = p.retry.after(now, p.cfg.RetryMin, p.cfg.RetryMax, p.cfg.Random)
	if code == errcode.OK || code == errcode.SegmentOwned {
		return acts
	}
	return p.become(acts, p.state, p.holder, code, "the store: "+code.String())
}

// hurry ends a pause, but never makes more than one attempt per shortest pause.
func (p *Publisher) hurry(now types.Time) {
	p.notBefore = min(p.notBefore, max(now, p.triedAt+p.cfg.RetryMin))
}

// become changes the state and tells, if there is anything to tell.
func (p *Publisher) become(acts []Action, s OwnershipState, holder types.InstanceID, code errcode.Code, cause string) []Action {
	if s == p.state && holder == p.holder && code == p.code && !(s == Owning && cause == "acquired") {
		return acts
	}
	p.state, p.holder, p.code, p.cause = s, holder, code, cause
	a := OwnershipChanged{State: s, Code: code, Cause: cause}
	if s == Owning {
		a.Epoch, a.StoreID = p.epoch, p.storeID
	} else {
		a.Holder = holder
	}
	return append(acts, a)
}

// disown forgets the ownership; the state follows by become.
func (p *Publisher) disown() {
	p.epoch, p.storeID, p.last, p.done, p.doubt, p.asked = 0, "", 0, 0, false, false
}

// expire ends an ownership whose lease may be over, before anything else is done at now: whoever was stopped for a while
// and comes back publishes nothing.
func (p *Publisher) expire(now types.Time, acts []Action) []Action {
	if p.state != Owning || !p.cfg.Caps.Leases || now < p.deadline {
		return acts
	}
	p.stats.Expired++
	p.disown()
	p.lapsed = true
	return p.become(acts, FencedOut, types.InstanceID{}, errcode.Fenced, "no renewal counted before the lease could end")
}

// judge takes a record that was read linearizably after mark (model: owner.notice_restore).
func (p *Publisher) judge(now types.Time, sent storeMark, rec *StoreRecord, acts []Action) []Action {
	p.used = max(p.used, foundVersion(rec))
	from := p.store.id
	switch p.store.read(sent, rec.StoreID, rec.Revision) {
	case staleStore:
		p.doubt = true
		return acts
	case olderStore:
		return p.wentBack(rec.StoreID, rec.Revision, acts)
	case otherStore:
		p.stats.StoreChanges++
		acts = append(acts, StoreWentBack{From: from, To: rec.StoreID, Revision: rec.Revision})
		if p.state == Owning {
			p.disown()
			acts = p.become(acts, Acquiring, types.InstanceID{}, errcode.OK, "the store came back as another one")
		}
	}
	switch {
	case p.state != Owning:
		p.found = rec
	case p.holds(rec):
		p.accept(rec)
		acts = p.become(acts, Owning, p.cfg.Instance, errcode.OK, "the store answers")
	default:
		acts = p.lost(rec, acts)
	}
	return acts
}

// accept takes over what lies there under our own ownership, unless a publish that is under way or ended after the
// reading knows better.
func (p *Publisher) accept(rec *StoreRecord) {
	if p.request.kind == publishRequest || p.olderThanOurs(rec, p.last) {
		return
	}
	p.last, p.done = rec.HeadRevision, 0
	if h := rec.Head; h != nil && h.Instance == p.cfg.Instance && h.Version <= p.want &&
		(!p.cfg.Caps.Epochs || (h.Epoch == p.epoch && h.StoreID == p.storeID)) {
		p.done = h.Version
	}
}

// olderThanOurs: read before a revision that is ours. Without epochs there is no such order.
func (p *Publisher) olderThanOurs(rec *StoreRecord, ours uint64) bool {
	return p.cfg.Caps.Epochs && rec.Revision < ours
}

// lost ends an ownership that the store does not know any more (model: owner.compare_lost, owner.renewed).
func (p *Publisher) lost(rec *StoreRecord, acts []Action) []Action {
	p.disown()
	p.lapsed = true
	if other := holderOf(rec); !other.IsZero() && other != p.cfg.Instance && !p.superseded(rec) {
		return p.fenced(other, "another instance took the name", acts)
	}
	p.stats.Expired++
	p.found = rec
	return p.become(acts, FencedOut, types.InstanceID{}, errcode.Fenced, "the lease ended")
}

func (p *Publisher) fenced(by types.InstanceID, cause string, acts []Action) []Action {
	p.stats.Fenced++
	p.lastStore, p.lastEpoch = "", 0
	return p.become(acts, FencedOut, by, errcode.Fenced, cause)
}

// wentBack makes a new store ID before anything else: under this one epochs and revisions would be given twice
// (model: owner.remake).
func (p *Publisher) wentBack(id string, revision uint64, acts []Action) []Action {
	p.stats.StoreChanges++
	p.remaking, p.remake = true, id
	p.found = nil
	if p.state == Owning {
		p.disown()
		acts = p.become(acts, Acquiring, types.InstanceID{}, errcode.OK, "the store went back to an older state")
	}
	return append(acts, StoreWentBack{From: id, To: id, Revision: revision})
}

// blocked: another one fenced us; the application must want the name again.
func (p *Publisher) blocked() bool { return p.state == FencedOut && !p.holder.IsZero() }

// due says whether a request (or RaiseVersion) is needed, and when it may be made.
func (p *Publisher) due() (types.Time, bool) {
	switch {
	case !p.wanted:
		return 0, p.state == Owning
	case p.blocked():
		return 0, false
	case p.state != Owning || p.doubt || p.remaking:
		return p.notBefore, true
	case p.want <= p.done || p.want <= p.refused:
		return 0, false
	case p.want <= p.used:
		return 0, !p.asked
	}
	return max(p.notBefore, p.publishAt), true
}

// step sends what is due.
func (p *Publisher) step(now types.Time, acts []Action) []Action {
	acts = p.renewIfDue(now, acts)
	if p.request.kind != noRequest {
		if !p.wanted && p.state != Owning && p.state != Releasing {
			acts = p.become(acts, Releasing, types.InstanceID{}, errcode.OK, "released")
		}
		return acts
	}
	if !p.wanted && p.state != Owning {
		p.found, p.remaking, p.doubt = nil, false, false
		return p.become(acts, NotWanted, types.InstanceID{}, errcode.OK, "released")
	}
	if at, needed := p.due(); !needed || now < at {
		return acts
	}
	switch {
	case !p.wanted:
		epoch := p.epoch
		p.disown()
		acts = p.become(acts, Releasing, types.InstanceID{}, errcode.OK, "released")
		return p.send(now, releaseRequest, 0, append(acts, StoreRelease{Epoch: epoch}))
	case p.remaking:
		p.stats.Remakes++
		return p.send(now, remakeRequest, 0, append(acts, StoreRemake{Seen: p.remake}))
	case p.state != Owning && p.found != nil:
		return p.claim(now, acts)
	case p.state != Owning || p.doubt:
		p.stats.Reads++
		return p.send(now, readRequest, 0, append(acts, StoreReadBack{}))
	case p.want <= p.used:
		p.asked = true
		p.stats.Raised++
		return append(acts, RaiseVersion{Above: p.used})
	}
	return p.publish(now, acts)
}

// send notes the request under way.
func (p *Publisher) send(now types.Time, kind requestKind, v types.Version, acts []Action) []Action {
	p.triedAt = now
	p.request = storeRequest{kind: kind, sentAt: now, epoch: p.epoch, version: v, mark: p.store.mark()}
	return acts
}

// publish writes the present state over the head that we know to lie there (model: owner.publish).
func (p *Publisher) publish(now types.Time, acts []Action) []Action {
	p.publishAt = now + p.cfg.PublishEvery
	p.stats.Publishes++
	a := StorePublish{Version: p.want, Epoch: p.epoch, StoreID: p.storeID, Last: p.last}
	return p.send(now, publishRequest, p.want, append(acts, a))
}

// claim asks for the name if the record that was just read allows it: nobody has it, or what lies there is left of an
// earlier ownership of ours or from before it, or it is to be taken over. A store without leases cannot say who is alive: there the last
// one to come has it (model: owner.acquire, owner.acquire_again, owner.take_over).
func (p *Publisher) claim(now types.Time, acts []Action) []Action {
	rec := p.found
	p.found = nil
	holder := holderOf(rec)
	a := StoreAcquire{}
	switch {
	case p.cfg.Caps.Epochs && rec.StoreID == "":
		p.remaking, p.remake = true, ""
		return p.step(now, acts)
	case holder.IsZero():
	case holder == p.cfg.Instance || p.takeover || p.superseded(rec) || !p.cfg.Caps.Leases:
		a.Takeover = rec
	case p.lapsed:
		return p.fenced(holder, "another instance took the name after our lease ended", acts)
	default:
		p.notBefore = now + waitPoll/2 + types.Time(p.cfg.Random()%uint64(waitPoll/2))
		return p.become(acts, Waiting, holder, errcode.SegmentOwned, "another instance owns the name")
	}
	p.stats.Acquires++
	acts = p.become(acts, Acquiring, types.InstanceID{}, errcode.OK, "the name is free for us")
	return p.send(now, acquireRequest, 0, append(acts, a))
}

// superseded: the store went back to an owner from before us. Nobody came after us, as far as it knows.
func (p *Publisher) superseded(rec *StoreRecord) bool {
	return p.cfg.Caps.Epochs && p.lastStore != "" && rec.OwnerStoreID == p.lastStore && rec.Epoch < p.lastEpoch
}

// waitPoll is how often at most the record of somebody else is read while his lease is waited for; a watch is quicker.
const waitPoll = types.Second

// renewIfDue sends the next renewal (model: owner.renew). Without leases the record is read instead, to see that what we
// published still lies there.
func (p *Publisher) renewIfDue(now types.Time, acts []Action) []Action {
	if p.state != Owning || !p.wanted || p.renewal.kind != noRequest || now < p.renewAt {
		return acts
	}
	p.renewAt = now + p.cfg.Renew
	if !p.cfg.Caps.Leases {
		p.doubt = true
		return acts
	}
	p.stats.Renewals++
	p.renewal = storeRequest{kind: renewRequest, sentAt: now, epoch: p.epoch, mark: p.store.mark()}
	return append(acts, StoreRenew{Epoch: p.epoch, SentAt: now})
}
