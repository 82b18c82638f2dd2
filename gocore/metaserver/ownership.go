package metaserver

import (
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// acquire makes an instance the owner of a name, or says who is.
func (t *table) acquire(cluster, name string, by types.InstanceID, ttl time.Duration, takeover *store.Record) (store.Owner, *store.Record, error) {
	t.lock()
	defer t.mu.Unlock()
	present := t.record(cluster, name)
	if present.Owner.Owned() && (takeover == nil || !store.SameOwner(takeover, present)) {
		return store.Owner{}, present, nil
	}
	e, err := t.entry(cluster, name)
	if err != nil {
		return store.Owner{}, nil, err
	}
	t.clear(e)
	e.owner = store.Owner{Instance: by, StoreID: e.space.storeID, Epoch: t.revision + 1}
	e.ttl = ttl
	t.extend(e)
	t.event(e)
	return e.owner, nil, nil
}

// owned returns the entry of a name that the owner still has, or nil.
func (t *table) owned(cluster, name string, o store.Owner) *entry {
	if e := t.find(cluster, name); e != nil && e.owner == o {
		return e
	}
	return nil
}

// publish replaces the head and the complete set of stock values, or says what lies there instead.
func (t *table) publish(cluster, name string, o store.Owner, r store.PublishRequest) (revision uint64, lost *store.Record, err error) {
	t.lock()
	defer t.mu.Unlock()
	e := t.owned(cluster, name, o)
	if e == nil || o.StoreID != e.space.storeID || e.headRevision != r.Last {
		return 0, t.record(cluster, name), nil
	}
	stock := make(map[string][]byte, len(r.Stock))
	more := int64(len(r.Head) - len(e.head))
	for _, s := range r.Stock {
		key := e.space.keys.Stock() + s.Key
		if _, twice := stock[key]; twice {
			return 0, nil, badRequest("stock key %q stands there twice", s.Key)
		}
		stock[key] = s.Value
		more += int64(len(key) + len(s.Value))
	}
	for _, key := range e.held {
		more -= int64(len(key) + len(t.values[key].data))
	}
	if err := t.room(more); err != nil {
		return 0, nil, err
	}
	if len(t.values)+len(stock) > t.limits.keys {
		return 0, nil, full("%d stock keys", t.limits.keys)
	}
	t.drop(e)
	for key, data := range stock {
		t.put(key, data, e)
	}
	t.bytes += int64(len(r.Head) - len(e.head))
	e.head, e.headRevision = r.Head, t.revision+1
	t.event(e)
	return e.headRevision, nil, nil
}

// renew extends the lease if the owner still has the name; the record says whether it does, and under which store ID.
func (t *table) renew(cluster, name string, o store.Owner) *store.Record {
	t.lock()
	defer t.mu.Unlock()
	if e := t.owned(cluster, name, o); e != nil {
		t.extend(e)
	}
	return t.record(cluster, name)
}

// release deletes everything of the owner, if it still has the name.
func (t *table) release(cluster, name string, o store.Owner) *store.Record {
	t.lock()
	defer t.mu.Unlock()
	if e := t.owned(cluster, name, o); e != nil {
		t.end(e)
	}
	return t.record(cluster, name)
}

// remake gives the cluster another store ID if it still is seen. Its watchers start again.
func (t *table) remake(cluster, seen string) (string, error) {
	t.lock()
	defer t.mu.Unlock()
	if id := t.storeID(cluster); id != seen {
		return id, nil
	}
	sp, err := t.space(cluster)
	if err != nil {
		return "", err
	}
	sp.storeID, sp.remade = types.NewInstanceID().String(), true
	t.revision++
	t.ring.add(t.revision, cluster, nil)
	for _, e := range sp.names {
		e.document = nil
	}
	return sp.storeID, nil
}

func (t *table) get(cluster, name string) *store.Record {
	t.lock()
	defer t.mu.Unlock()
	return t.record(cluster, name)
}

// list returns the documents of all names of a cluster.
func (t *table) list(cluster string) (storeID string, revision uint64, documents [][]byte) {
	t.lock()
	defer t.mu.Unlock()
	if sp := t.spaces[cluster]; sp != nil {
		documents = make([][]byte, 0, len(sp.names))
		for _, e := range sp.names {
			documents = append(documents, t.document(e))
		}
	}
	return t.storeID(cluster), t.revision, documents
}

// end takes everything of the owner away, in one step.
func (t *table) end(e *entry) {
	t.clear(e)
	t.event(e)
	t.forget(e)
}

// clear takes the owner, its lease, its head and its stock values out of the entry.
func (t *table) clear(e *entry) {
	t.leases.remove(e)
	t.drop(e)
	t.bytes -= int64(len(e.head))
	e.owner, e.head, e.headRevision = store.Owner{}, nil, 0
}

// drop deletes the stock values that lie on the entry's lease.
func (t *table) drop(e *entry) {
	for len(e.held) > 0 {
		t.remove(e.held[0])
	}
}
