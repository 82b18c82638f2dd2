package mem

import (
	"maps"
	"slices"
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// state is all that a server holds: what Save copies and Restore brings back.
type state struct {
	revision uint64
	spaces   map[string]*space // by cluster prefix
	leases   map[string]*lease
}

// space is one cluster's part.
type space struct {
	storeID string
	names   map[string]*entry
	stock   map[string]stockValue // by key relative to the stock prefix
}

// entry is a name that somebody owns; without an owner there is none.
type entry struct {
	owner        store.Owner
	lease        string
	head         []byte
	headRevision uint64
}

type stockValue struct {
	value []byte
	lease string // empty: put by somebody who is no owner
}

type lease struct {
	cluster string
	name    string
	ttl     time.Duration
	ends    time.Duration // on the server's clock
}

func newState() *state {
	return &state{spaces: map[string]*space{}, leases: map[string]*lease{}}
}

func (st *state) space(cluster string) *space {
	sp := st.spaces[cluster]
	if sp == nil {
		sp = &space{names: map[string]*entry{}, stock: map[string]stockValue{}}
		st.spaces[cluster] = sp
	}
	return sp
}

// clone copies deeply, but for the bytes of values, which nobody changes.
func (st *state) clone() *state {
	c := &state{revision: st.revision, spaces: map[string]*space{}, leases: map[string]*lease{}}
	for cluster, sp := range st.spaces {
		copied := &space{storeID: sp.storeID, names: map[string]*entry{}, stock: maps.Clone(sp.stock)}
		for name, e := range sp.names {
			one := *e
			copied.names[name] = &one
		}
		c.spaces[cluster] = copied
	}
	for id, l := range st.leases {
		one := *l
		c.leases[id] = &one
	}
	return c
}

// record reads everything about one name.
func (st *state) record(sp *space, name string) store.Record {
	r := store.Record{Name: name, StoreID: sp.storeID, Revision: st.revision}
	if e := sp.names[name]; e != nil {
		r.Owner, r.HeadRevision = e.owner, e.headRevision
		r.Head = slices.Clone(e.head)
	}
	if v, ok := sp.stock["ram/"+name]; ok {
		r.Stock = slices.Clone(v.value)
	}
	return r
}

// endLease deletes what lies on a lease, in one step, and names the record that changed, if one did.
func (st *state) endLease(id string) (cluster, name string, changed bool) {
	l := st.leases[id]
	if l == nil {
		return "", "", false
	}
	delete(st.leases, id)
	sp := st.space(l.cluster)
	if e := sp.names[l.name]; e != nil && e.lease == id {
		delete(sp.names, l.name)
		changed = true
	}
	gone := len(sp.stock)
	maps.DeleteFunc(sp.stock, func(_ string, v stockValue) bool { return v.lease == id })
	if changed || len(sp.stock) != gone {
		st.revision++
	}
	return l.cluster, l.name, changed
}

// listing reads all names that have an owner.
func (st *state) listing(sp *space) *store.Listing {
	l := &store.Listing{StoreID: sp.storeID, Revision: st.revision}
	for _, name := range slices.Sorted(maps.Keys(sp.names)) {
		r := st.record(sp, name)
		r.Stock = nil
		l.Records = append(l.Records, r)
	}
	return l
}

// newID draws 32 hexadecimal digits.
func newID() string { return types.NewInstanceID().String() }
