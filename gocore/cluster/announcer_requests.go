package cluster

import (
	"context"
	"errors"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// The requests of an Announcer. Each is begun with mu held, runs without it, and feeds the machine its one answer.

func (a *Announcer) acquire(act coherence.StoreAcquire) {
	r := store.AcquireRequest{Name: a.cfg.Name, Instance: a.cfg.Instance, TTL: a.cfg.TTL}
	if act.Takeover != nil {
		r.Takeover = &store.Record{
			Name: act.Takeover.Name, StoreID: act.Takeover.StoreID, Revision: act.Takeover.Revision,
			Owner:        store.Owner{Instance: act.Takeover.Owner, StoreID: act.Takeover.OwnerStoreID, Epoch: act.Takeover.Epoch},
			HeadRevision: act.Takeover.HeadRevision,
		}
	}
	var got store.Ownership
	a.spawn("acquire", func(ctx context.Context) (err error) {
		got, err = a.cfg.Store.Acquire(ctx, r)
		return err
	}, func(now types.Time, err error) {
		if err == nil {
			a.ownership = got
			a.run(a.machine.Acquired(now, got.StoreID, got.Epoch))
			return
		}
		code, unknown := a.failed(err)
		var owned *store.OwnedError
		var rec *coherence.StoreRecord
		if errors.As(err, &owned) {
			seen, _ := decode(&owned.Record, a.cfg.Store.Info())
			rec, code = &seen, errcode.SegmentOwned
		}
		a.run(a.machine.AcquireFailed(now, rec, code, unknown))
	})
}

func (a *Announcer) publish(act coherence.StorePublish) {
	own := a.ownership
	var result store.PublishResult
	a.spawn("publish", func(ctx context.Context) error {
		doc, err := a.cfg.Render(act.Epoch, act.StoreID)
		if err != nil {
			return err
		}
		if doc.Version > act.Version { // the owner went on since the machine decided
			a.mu.Lock()
			a.machine.Rendered(doc.Version)
			a.mu.Unlock()
		}
		result, err = a.cfg.Store.Publish(ctx, own, store.PublishRequest{Head: doc.Head, Last: act.Last, Stock: doc.Stock})
		return err
	}, func(now types.Time, err error) {
		switch {
		case err != nil:
			code, unknown := a.failed(err)
			a.run(a.machine.PublishFailed(now, code, unknown))
		case result.Lost != nil:
			rec, _ := decode(result.Lost, a.cfg.Store.Info())
			a.run(a.machine.PublishLost(now, rec))
		default:
			a.run(a.machine.Published(now, result.Revision))
		}
	})
}

func (a *Announcer) readBack() {
	var got store.Record
	a.spawn("read_back", func(ctx context.Context) (err error) {
		got, err = a.cfg.Store.Get(ctx, a.cfg.Name)
		return err
	}, func(now types.Time, err error) {
		if err != nil {
			code, _ := a.failed(err)
			a.run(a.machine.ReadBackFailed(now, code))
			return
		}
		a.machine.SetCaps(capsOf(a.cfg.Store)) // the first thing that is asked of a store is to be read
		rec, _ := decode(&got, a.cfg.Store.Info())
		a.run(a.machine.ReadBack(now, rec))
	})
}

func (a *Announcer) renew(act coherence.StoreRenew) {
	own := a.ownership
	var got store.Record
	a.spawn("renew", func(ctx context.Context) (err error) {
		got, err = a.cfg.Store.Renew(ctx, own)
		return err
	}, func(now types.Time, err error) {
		if err != nil {
			code, _ := a.failed(err)
			a.run(a.machine.RenewFailed(now, act.SentAt, code))
			return
		}
		rec, _ := decode(&got, a.cfg.Store.Info())
		a.run(a.machine.Renewed(now, act.SentAt, rec))
	})
}

func (a *Announcer) release() {
	own := a.ownership
	a.spawn("release", func(ctx context.Context) error { return a.cfg.Store.Release(ctx, own) },
		func(now types.Time, err error) {
			code := errcode.OK
			if err != nil {
				code, _ = a.failed(err)
			}
			a.run(a.machine.Released(now, code))
		})
}

func (a *Announcer) remake(act coherence.StoreRemake) {
	var id string
	a.spawn("remake", func(ctx context.Context) (err error) {
		id, err = a.cfg.Store.Remake(ctx, act.Seen)
		return err
	}, func(now types.Time, err error) {
		code := errcode.OK
		if err != nil {
			code, _ = a.failed(err)
		}
		a.run(a.machine.Remade(now, id, code))
	})
}

// raise asks the engine, whose locks stand above ours, for a higher version.
func (a *Announcer) raise(act coherence.RaiseVersion) {
	a.work.Go(func() {
		v := a.cfg.RaiseVersion(act.Above)
		a.Changed(v)
	})
}
