package metaserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
)

// table is the store: names of clusters, stock values, leases, and the ring of changes. Every method is one step.
//
// Leases end by the clock that each step looks at first, so that none is seen after its end, whether or not the
// goroutine that ends them in time has run.
type table struct {
	now    func() time.Duration // monotonic
	limits tableLimits

	mu       sync.Mutex
	secret   [32]byte // makes store IDs of clusters that nobody wrote to, without keeping them
	revision uint64   // goes up by one with each event of the ring
	spaces   map[string]*space
	values   map[string]*value // the stock layout, by complete key
	leases   leases
	ring     ring
	bytes    int64 // of heads, stock values, keys and names
	names    int
	expired  uint64 // leases that ran out
	due      chan struct{}
}

// tableLimits bound what the table holds.
type tableLimits struct {
	bytes      int64
	keys       int // names and stock values, each
	clusters   int
	ringEvents int
	ringBytes  int
}

// space is one cluster.
type space struct {
	cluster string
	keys    store.Keys
	storeID string
	remade  bool // the store ID cannot be made again, so it is kept while the server lives
	names   map[string]*entry
}

// entry is one name that somebody owns; without an owner there is none.
type entry struct {
	space        *space
	name         string
	owner        store.Owner
	ttl          time.Duration
	deadline     time.Duration // of the owner's lease
	place        int           // in the heap of leases; -1: not in it
	head         []byte
	headRevision uint64
	held         []string // stock keys that go when the owner does
	changed      uint64   // revision of the last event
	document     []byte   // httpapi.Record as it goes into streams; made when needed
}

// value is one stock value.
type value struct {
	data   []byte
	holder *entry // whose lease it lies on; nil: a stock client put it
}

func newTable(now func() time.Duration, limits tableLimits) *table {
	t := &table{now: now, limits: limits, spaces: map[string]*space{}, values: map[string]*value{}, due: make(chan struct{}, 1)}
	_, _ = rand.Read(t.secret[:]) // never fails
	t.ring.init(limits.ringEvents, limits.ringBytes)
	return t
}

func (t *table) lock() {
	t.mu.Lock()
	t.expire()
}

// storeID is random per start and cluster.
func (t *table) storeID(cluster string) string {
	if sp := t.spaces[cluster]; sp != nil {
		return sp.storeID
	}
	h := hmac.New(sha256.New, t.secret[:])
	h.Write([]byte(cluster))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// space returns the cluster's, made if it is not there; an error if there are too many.
func (t *table) space(cluster string) (*space, error) {
	if sp := t.spaces[cluster]; sp != nil {
		return sp, nil
	}
	keys, err := store.NewKeys(cluster)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if len(t.spaces) >= t.limits.clusters {
		return nil, full("%d clusters", t.limits.clusters)
	}
	sp := &space{cluster: cluster, keys: keys, storeID: t.storeID(cluster), names: map[string]*entry{}}
	t.spaces[cluster] = sp
	return sp, nil
}

func (t *table) find(cluster, name string) *entry {
	if sp := t.spaces[cluster]; sp != nil {
		return sp.names[name]
	}
	return nil
}

// entry returns the name's, made if it is not there.
func (t *table) entry(cluster, name string) (*entry, error) {
	if e := t.find(cluster, name); e != nil {
		return e, nil
	}
	if t.names >= t.limits.keys {
		return nil, full("%d names", t.limits.keys)
	}
	if err := t.room(int64(len(name))); err != nil {
		return nil, err
	}
	sp, err := t.space(cluster)
	if err != nil {
		return nil, err
	}
	e := &entry{space: sp, name: name, place: -1}
	sp.names[name] = e
	t.names++
	t.bytes += int64(len(name))
	return e, nil
}

// forget takes an entry without an owner out of the table, and its cluster if that was the last one.
func (t *table) forget(e *entry) {
	delete(e.space.names, e.name)
	t.names--
	t.bytes -= int64(len(e.name))
	if len(e.space.names) == 0 && !e.space.remade {
		delete(t.spaces, e.space.cluster)
	}
}

// room reports whether so many more bytes may be kept.
func (t *table) room(more int64) error {
	if more > 0 && t.bytes+more > t.limits.bytes {
		return full("%d bytes", t.limits.bytes)
	}
	return nil
}

// record is all that is known of a name now.
func (t *table) record(cluster, name string) *store.Record {
	r := &store.Record{Name: name, StoreID: t.storeID(cluster), Revision: t.revision}
	if e := t.find(cluster, name); e != nil {
		r.Owner, r.Head, r.HeadRevision = e.owner, e.head, e.headRevision
	}
	if keys, err := store.NewKeys(cluster); err == nil {
		if v := t.values[keys.RAM(name)]; v != nil {
			r.Stock = v.data
		}
	}
	return r
}

// event makes the present state of a name the next change.
func (t *table) event(e *entry) {
	t.revision++
	e.changed, e.document = t.revision, nil
	id := httpapi.EventID(e.space.storeID, t.revision)
	t.ring.add(t.revision, e.space.cluster, httpapi.AppendEvent(nil, httpapi.EventChange, id, t.document(e)))
}

// document is the record as streams and listings show it: without the stock copy, which may be large.
func (t *table) document(e *entry) []byte {
	if e.document == nil {
		e.document = httpapi.Marshal(httpapi.Record{
			Name: e.name, StoreID: e.space.storeID, Revision: e.changed, Owner: httpapi.FromOwner(e.owner),
			Head: e.head, HeadRevision: e.headRevision,
		})
	}
	return e.document
}
