package cluster

import (
	"context"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// The requests of a Resolver, begun with mu held, run without it; each feeds the machine its one answer.

func (r *Resolver[B]) get(act coherence.DirGet) {
	var rec coherence.StoreRecord
	var bad error
	r.spawn("get", func(ctx context.Context) error {
		got, err := r.cfg.Store.Get(ctx, act.Name)
		if err == nil {
			rec, bad = decode(&got, r.cfg.Store.Info())
		}
		return err
	}, func(now types.Time, err error) {
		r.note(act.Name, err, bad)
		r.learn()
		if err != nil {
			r.run(r.machine.GetFailed(now, act.Name, codeOf(err), err.Error()))
			return
		}
		r.run(r.machine.Got(now, act.Name, rec))
	})
}

// note remembers why a name cannot be had, for whoever waits for it.
func (r *Resolver[B]) note(name string, errs ...error) {
	for _, err := range errs {
		if err == nil {
			continue
		}
		if len(r.causes) > maxCauses {
			clear(r.causes)
		}
		r.causes[name] = err
	}
}

// learn corrects what the store was taken for before it had answered. Callers hold mu.
func (r *Resolver[B]) learn() {
	caps := capsOf(r.cfg.Store)
	if caps == r.caps {
		return
	}
	r.caps = caps
	r.machine.SetEpochs(caps.Epochs)
	info := r.cfg.Store.Info()
	for _, lack := range info.Lacks {
		r.cfg.Logger.Warn("the metadata store cannot keep a promise", "store", info.URL, "invariant", lack.Invariant, "reason", lack.Reason)
	}
}

// maxCauses bounds the errors kept for names that nobody may be waiting for any more.
const maxCauses = 4096

func (r *Resolver[B]) bind(act coherence.DirBind) {
	r.work.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, r.cfg.BindTimeout)
		b, err := r.cfg.Bind(ctx, act.Head)
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		code, detail := errcode.OK, ""
		if err == nil {
			r.bound[act.Name] = b
		} else {
			code, detail = codeOf(err), err.Error()
			if code == errcode.MetadataUnavailable { // not the store's: the peer did not answer
				code = errcode.PeerUnreachable
			}
			r.note(act.Name, err)
		}
		r.run(r.machine.Bound(r.now(), act.Name, act.Head.Instance, code, detail))
		if b, ok := r.bound[act.Name]; ok {
			delete(r.bound, act.Name)
			r.say(func() { r.cfg.Void(b) })
		}
	})
}

func (r *Resolver[B]) remake(act coherence.StoreRemake) {
	var id string
	r.spawn("remake", func(ctx context.Context) (err error) {
		id, err = r.cfg.Store.Remake(ctx, act.Seen)
		return err
	}, func(now types.Time, err error) {
		code := errcode.OK
		if err != nil {
			code = codeOf(err)
		}
		r.run(r.machine.Remade(now, id, code))
	})
}

const (
	watchRetryMin = 100 * time.Millisecond
	watchRetryMax = time.Second // owners and readers are to hear within a second of a store that came back
)

// watch keeps a watch on the store for as long as the resolver lives.
func (r *Resolver[B]) watch() {
	pause := watchRetryMin
	for r.ctx.Err() == nil {
		begun := time.Now()
		err := r.cfg.Store.Watch(r.ctx, r.seen)
		if r.ctx.Err() != nil {
			return
		}
		r.cfg.Requested("watch", err)
		r.cfg.Logger.Debug("the watch on the metadata store ended", "store", r.cfg.Store.Info().URL, "error", err)
		r.feed(func(now types.Time) []coherence.Action { return r.machine.WatchDown(now) })
		if time.Since(begun) > watchRetryMax {
			pause = watchRetryMin
		}
		jitter := time.Duration(r.cfg.Random() % uint64(pause/2+1))
		select {
		case <-time.After(pause/2 + jitter):
		case <-r.ctx.Done():
		}
		pause = min(2*pause, watchRetryMax)
	}
}

// seen takes one event of the watch. Only records of names that are open here are decoded.
func (r *Resolver[B]) seen(ev store.Event) {
	switch {
	case ev.Listing != nil:
		var records []coherence.StoreRecord
		own := r.cfg.Own == ""
		for i := range ev.Listing.Records {
			own = own || ev.Listing.Records[i].Name == r.cfg.Own
			if rec, open := r.interesting(&ev.Listing.Records[i]); open {
				records = append(records, rec)
			}
		}
		r.feed(func(now types.Time) []coherence.Action {
			r.learn()
			return r.machine.Listing(now, ev.Listing.StoreID, ev.Listing.Revision, records)
		})
		if !own { // nothing lies under our name
			r.cfg.Owned(coherence.StoreRecord{Name: r.cfg.Own, StoreID: ev.Listing.StoreID, Revision: ev.Listing.Revision})
		}
		r.cfg.Seen(ev.Listing.StoreID, ev.Listing.Revision)
	case ev.Changed != nil:
		rec, open := r.interesting(ev.Changed)
		r.feed(func(now types.Time) []coherence.Action {
			if open {
				return r.machine.Changed(now, rec)
			}
			return r.machine.Progress(now, ev.Changed.Revision)
		})
	case ev.Progress != nil:
		r.feed(func(now types.Time) []coherence.Action { return r.machine.Progress(now, ev.Progress.Revision) })
	}
}

// interesting decodes a record if its name is open here, and passes on what is said of our own name.
func (r *Resolver[B]) interesting(raw *store.Record) (coherence.StoreRecord, bool) {
	r.mu.Lock()
	open := r.machine.IsOpen(raw.Name)
	r.mu.Unlock()
	if !open && raw.Name != r.cfg.Own {
		return coherence.StoreRecord{}, false
	}
	rec, bad := decode(raw, r.cfg.Store.Info())
	if open {
		r.mu.Lock()
		r.note(raw.Name, bad)
		r.mu.Unlock()
	}
	if raw.Name == r.cfg.Own && r.cfg.Own != "" {
		r.cfg.Owned(rec)
	}
	return rec, open
}
