package coherence

import (
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// take ends the request under way.
func (p *Publisher) take() storeRequest {
	r := p.request
	p.request = storeRequest{}
	return r
}

// Acquired answers StoreAcquire: the name is ours under this epoch, and no head lies there.
func (p *Publisher) Acquired(now types.Time, storeID string, epoch uint64) []Action {
	r := p.take()
	if r.kind != acquireRequest {
		return nil
	}
	p.stats.Acquired++
	p.answered(now)
	if p.cfg.Caps.Epochs && (storeID == "" || p.lastStore == storeID && epoch <= p.lastEpoch) {
		// A store gives each epoch once, so it went back, or it was emptied just now: whoever had this epoch before could
		// not be told from us.
		return p.step(now, p.wentBack(storeID, p.store.revision, nil))
	}
	p.lastStore, p.lastEpoch = storeID, epoch
	if p.store.id != storeID || !p.store.known {
		p.store.move(storeID, epoch)
	}
	p.epoch, p.storeID, p.last, p.done, p.doubt = epoch, storeID, 0, 0, false
	p.deadline, p.renewAt = r.sentAt+p.cfg.TTL-p.cfg.Margin, r.sentAt+p.cfg.Renew
	p.takeover, p.lapsed = false, false
	p.renewBack.reset()
	acts := p.become(nil, Owning, p.cfg.Instance, errcode.OK, "acquired")
	return p.step(now, p.expire(now, acts))
}

// AcquireFailed answers StoreAcquire: with the record of whoever owns the name, or with why there is none. After an
// unknown outcome the record is read first.
func (p *Publisher) AcquireFailed(now types.Time, rec *StoreRecord, code errcode.Code, unknown bool) []Action {
	r := p.take()
	if r.kind != acquireRequest {
		return nil
	}
	if unknown {
		p.stats.UnknownOutcomes++
	}
	acts := p.failed(now, code, nil)
	if rec != nil {
		acts = p.judge(now, r.mark, rec, acts)
	}
	if p.takeover {
		p.found = nil // read again after the pause: an owner that publishes all the time would win each compare
	}
	return p.step(now, acts)
}

// Published answers StorePublish: it landed, and the head has this revision (model: owner.published).
func (p *Publisher) Published(now types.Time, revision uint64) []Action {
	r := p.take()
	if r.kind != publishRequest {
		return nil
	}
	p.stats.Landed++
	p.answered(now)
	p.used = max(p.used, r.version)
	acts := p.expire(now, nil)
	if p.mine(r) {
		p.last, p.done = revision, r.version
		p.doubt = p.doubt || !p.cfg.Caps.CompareAndSet // the last writer wins there: look who it was
		if p.cfg.Caps.Epochs {                         // else it says nothing of the store
			p.store.revision = max(p.store.revision, revision)
		}
		acts = p.become(acts, Owning, p.cfg.Instance, errcode.OK, "published")
	}
	return p.step(now, acts)
}

// PublishLost answers StorePublish: the compare was lost, and this is what lies there, read in the same step. Ours still
// with an earlier head of ours, one that was still under way: the present state is published over it, with a higher
// version. Else the name is lost (model: owner.compare_lost).
func (p *Publisher) PublishLost(now types.Time, rec StoreRecord) []Action {
	r := p.take()
	if r.kind != publishRequest {
		return nil
	}
	p.stats.ComparesLost++
	p.answered(now)
	acts := p.expire(now, nil)
	if !p.mine(r) {
		return p.step(now, acts)
	}
	return p.step(now, p.judge(now, r.mark, &rec, acts))
}

// PublishFailed answers StorePublish when the store did not do it or did not say. With unknown it may have landed, or may
// still: its version is not used again and the record is read before the next publish (model: owner.no_answer).
func (p *Publisher) PublishFailed(now types.Time, code errcode.Code, unknown bool) []Action {
	r := p.take()
	if r.kind != publishRequest {
		return nil
	}
	if unknown {
		p.stats.UnknownOutcomes++
		p.used = max(p.used, r.version)
		p.doubt = true
	}
	switch code {
	case errcode.InvalidArgument, errcode.MetadataInvalid, errcode.ResourceExhausted:
		if !unknown { // e.g. too large for the store: the next change may not be
			p.refused = max(p.refused, r.version)
		}
	}
	return p.step(now, p.failed(now, code, p.expire(now, nil)))
}

// ReadBack answers StoreReadBack.
func (p *Publisher) ReadBack(now types.Time, rec StoreRecord) []Action {
	r := p.take()
	if r.kind != readRequest {
		return nil
	}
	p.answered(now)
	p.doubt = false
	return p.step(now, p.judge(now, r.mark, &rec, p.expire(now, nil)))
}

// ReadBackFailed answers StoreReadBack.
func (p *Publisher) ReadBackFailed(now types.Time, code errcode.Code) []Action {
	if r := p.take(); r.kind != readRequest {
		return nil
	}
	return p.step(now, p.failed(now, code, p.expire(now, nil)))
}

// Renewed answers StoreRenew with the record that was read after the lease was extended: it counts only if that names us
// at our epoch, from the moment at which it was sent (model: owner.renewed).
func (p *Publisher) Renewed(now, sentAt types.Time, rec StoreRecord) []Action {
	r := p.renewal
	if r.kind != renewRequest || r.sentAt != sentAt {
		return nil
	}
	p.renewal = storeRequest{}
	acts := p.expire(now, nil)
	if !p.mine(r) {
		return p.step(now, acts)
	}
	p.renewBack.reset()
	p.renewAt = sentAt + p.cfg.Renew
	if p.retry.pause > 0 { // the store answers again: what waits to be tried need not wait longer
		p.hurry(now)
	}
	if acts = p.judge(now, r.mark, &rec, acts); p.mine(r) && p.holds(&rec) {
		p.stats.RenewalsCounted++
		p.deadline = max(p.deadline, sentAt+p.cfg.TTL-p.cfg.Margin)
	} else {
		p.stats.RenewalsLost++
	}
	return p.step(now, acts)
}

// RenewFailed answers StoreRenew when there is no record. If the store did answer, the lease is gone perhaps: read.
func (p *Publisher) RenewFailed(now, sentAt types.Time, code errcode.Code) []Action {
	r := p.renewal
	if r.kind != renewRequest || r.sentAt != sentAt {
		return nil
	}
	p.renewal = storeRequest{}
	p.stats.Failures++
	acts := p.expire(now, nil)
	if p.mine(r) {
		p.renewAt = p.renewBack.after(now, p.cfg.RetryMin, p.cfg.RetryMax, p.cfg.Random)
		p.doubt = p.doubt || code != errcode.MetadataUnavailable
	}
	return p.step(now, acts)
}

// Released answers StoreRelease, however it went: what was not deleted goes with the lease.
func (p *Publisher) Released(now types.Time, code errcode.Code) []Action {
	r := p.take()
	if r.kind != releaseRequest {
		return nil
	}
	if code != errcode.OK {
		p.stats.Failures++
	}
	return p.step(now, nil)
}

// Remade answers StoreRemake with the ID that the store has now, whoever made it.
func (p *Publisher) Remade(now types.Time, storeID string, code errcode.Code) []Action {
	r := p.take()
	if r.kind != remakeRequest {
		return nil
	}
	acts := p.expire(now, nil)
	if code != errcode.OK {
		return p.step(now, p.failed(now, code, acts))
	}
	p.answered(now)
	p.remaking = false
	if p.store.id != storeID {
		p.store.move(storeID, 0)
	}
	return p.step(now, acts)
}

// RecordSeen takes what a watch or another reader of this process says about our name. It may be old, so it only leads
// to a read.
func (p *Publisher) RecordSeen(now types.Time, rec StoreRecord) []Action {
	acts := p.expire(now, nil)
	switch {
	case !p.wanted:
		return p.step(now, acts)
	case p.state == Owning:
		old := rec.StoreID == p.storeID && p.olderThanOurs(&rec, max(p.epoch, p.last))
		if old || (p.holds(&rec) && (rec.HeadRevision == p.last || p.request.kind == publishRequest)) {
			return p.step(now, acts)
		}
		p.doubt = true
	case p.state == Waiting && holderOf(&rec) == p.holder:
		return p.step(now, acts)
	}
	p.hurry(now)
	return p.step(now, acts)
}

// StoreSeen says that the store answered somebody with a listing: what waits for it need wait no longer, and if it is
// another store, or an older one, what we think to own must be looked at.
func (p *Publisher) StoreSeen(now types.Time, storeID string, revision uint64) []Action {
	acts := p.expire(now, nil)
	if !p.wanted {
		return p.step(now, acts)
	}
	if p.store.known && (storeID != p.store.id || revision < p.store.revision) {
		p.doubt = true
		p.hurry(now)
	} else if p.retry.pause > 0 {
		p.hurry(now)
	}
	return p.step(now, acts)
}

// mine reports whether a request was sent under the ownership that we still have.
func (p *Publisher) mine(r storeRequest) bool { return p.state == Owning && r.epoch == p.epoch }

// holds reports whether a record names our present ownership. Without epochs it is the instance alone; where nobody is
// named the store was emptied, and the name has to be acquired again before anything can be published.
func (p *Publisher) holds(rec *StoreRecord) bool {
	if !p.cfg.Caps.Epochs {
		return holderOf(rec) == p.cfg.Instance
	}
	return rec.StoreID == p.storeID && rec.OwnerStoreID == p.storeID && rec.Owner == p.cfg.Instance && rec.Epoch == p.epoch
}

// holderOf is who has the name: the owner, or in a store that has none whoever wrote what lies there.
func holderOf(rec *StoreRecord) types.InstanceID {
	if rec.Owner.IsZero() && rec.Head != nil && rec.Epoch == 0 {
		return rec.Head.Instance
	}
	return rec.Owner
}

// foundVersion is the version of the head that lies there, or 0. What no clock can have given is not followed.
func foundVersion(rec *StoreRecord) types.Version {
	if rec.Head == nil || rec.Head.Version >= descriptor.MaxVersion-1 {
		return 0
	}
	return rec.Head.Version
}
