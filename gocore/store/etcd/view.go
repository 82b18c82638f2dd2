package etcd

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	mvccpb "go.etcd.io/etcd/api/v3/mvccpb"

	"mooncake_te/gocore/store"
)

// view is what a watch knows of a cluster: the listing, brought up to date event by event.
type view struct {
	keys     store.Keys
	log      *slog.Logger
	revision int64
	storeID  string
	names    map[string]*seen
}

// seen is one name. A value that cannot be read leaves what was known before.
type seen struct {
	owner store.Owner
	head  []byte
	rev   int64 // of the head
}

func newView(keys store.Keys, revision int64, log *slog.Logger) *view {
	return &view{keys: keys, log: log, revision: revision, names: map[string]*seen{}}
}

// put takes a key's value in and returns the name that it changed, or "".
func (v *view) put(kv *keyValue) string {
	key := string(kv.Key)
	if key == v.keys.StoreID() {
		v.storeID = string(kv.Value)
		return ""
	}
	name, isOwner, ok := v.split(key)
	if !ok {
		return ""
	}
	n := v.names[name]
	if n == nil {
		n = &seen{}
	}
	if !isOwner {
		n.head, n.rev = present(kv.Value), kv.ModRevision
	} else if owner, err := decodeOwner(kv.Value, kv.ModRevision); err == nil {
		n.owner = owner
	} else {
		v.log.Warn("a metadata key cannot be read and is left out", "key", key, "error", err)
		return ""
	}
	v.names[name] = n
	return name
}

func (v *view) delete(key string) string {
	name, isOwner, ok := v.split(key)
	n := v.names[name]
	if !ok || n == nil {
		return ""
	}
	if isOwner {
		n.owner = store.Owner{}
	} else {
		n.head, n.rev = nil, 0
	}
	if !n.owner.Owned() && n.head == nil {
		delete(v.names, name)
	}
	return name
}

// split takes a key of ours apart. Other clusters' keys, when this one has no ID, are none.
func (v *view) split(key string) (name string, isOwner, ok bool) {
	if name, isOwner = strings.CutPrefix(key, v.keys.Owner("")); !isOwner {
		if name, ok = strings.CutPrefix(key, v.keys.Head("")); !ok {
			return "", false, false
		}
	}
	return name, isOwner, store.CheckName("watch", name) == nil
}

// apply takes events in, revision by revision, and returns the records that changed at each.
func (v *view) apply(events []*mvccpb.Event) ([]store.Record, error) {
	var out []store.Record
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		n := slices.IndexFunc(events, func(e *mvccpb.Event) bool { return e.Kv.ModRevision != revision })
		if n < 0 {
			n = len(events)
		}
		if revision <= v.revision {
			events = events[n:]
			continue
		}
		v.revision = revision
		var changed []string
		for _, e := range events[:n] {
			before, name := v.storeID, ""
			if e.Type == mvccpb.Event_DELETE {
				if string(e.Kv.Key) == v.keys.StoreID() {
					return out, errStoreID
				}
				name = v.delete(string(e.Kv.Key))
			} else {
				name = v.put(e.Kv)
			}
			if before != "" && before != v.storeID {
				return out, errStoreID
			}
			if name != "" && !slices.Contains(changed, name) {
				changed = append(changed, name)
			}
		}
		for _, name := range changed {
			out = append(out, v.record(name))
		}
		events = events[n:]
	}
	return out, nil
}

func (v *view) record(name string) store.Record {
	r := store.Record{Name: name, StoreID: v.storeID, Revision: uint64(v.revision)}
	if n := v.names[name]; n != nil {
		r.Owner, r.Head, r.HeadRevision = n.owner, n.head, uint64(n.rev)
	}
	return r
}

func (v *view) listing() *store.Listing {
	l := &store.Listing{StoreID: v.storeID, Revision: uint64(v.revision)}
	for _, name := range slices.Sorted(maps.Keys(v.names)) {
		l.Records = append(l.Records, v.record(name))
	}
	return l
}
