// Package store keeps heads so that names find their owners: one interface that etcd, our metadata server, a stock HTTP
// server and memory implement, each as far as it can (Info says how far), and one conformance suite that all of them run.
//
// A store executes single steps; it decides nothing. Who may own a name, when to renew, what to do after a lost compare
// or an unknown outcome is decided in gocore/coherence (Publisher, Directory), so that it runs in the simulator too.
//
// # Concurrency
//
// All methods may be called from any goroutine. Each ends with its context, at the latest: a dead store blocks nobody
// longer than that.
//
// # Errors
//
// Typed (errcode): METADATA_UNAVAILABLE when no answer came, METADATA_REFUSED when the store refused (password,
// certificate, quota, no such service), METADATA_INVALID when what lies there cannot be read, INVALID_ARGUMENT for what
// the caller got wrong, SEGMENT_OWNED (an *OwnedError), CLOSED after Close. A write whose outcome is unknown is Unknown(err),
// whatever its code (etcd refuses the write that finds its quota used up, and carries it out): read back, never retry
// blindly. An acquire may turn out to have landed that way: the record names the asker, who takes it over.
package store

import (
	"context"
	"time"

	"mooncake_te/gocore/types"
)

// Store is a place for heads.
type Store interface {
	// Info says what this is and what it keeps; it does no I/O.
	Info() Info
	// Acquire makes an instance the owner of a name under a lease of its own and deletes the head that lay there, in one
	// step. Without Takeover it succeeds only while nobody owns the name; else with *OwnedError.
	Acquire(ctx context.Context, r AcquireRequest) (Ownership, error)
	// Publish replaces the head if the owner key is o's, the store ID is o's and the head's revision is r.Last; else the
	// result has Lost set to what lies there, read in the same step. A stock copy is written and deleted with it.
	Publish(ctx context.Context, o Ownership, r PublishRequest) (PublishResult, error)
	// Renew extends the lease, then reads the owner key, linearizably. It counts only if the record returned names o.
	Renew(ctx context.Context, o Ownership) (Record, error)
	// Release deletes owner, head and stock copy if o still owns the name, and ends the lease in any case.
	Release(ctx context.Context, o Ownership) error
	// Get reads everything about one name in one step, linearizably where the store can. A name that nobody published is
	// a Record without Owner, Head and Stock, not an error.
	Get(ctx context.Context, name string) (Record, error)
	// Watch calls f with one Listing of all names, then with every change after it, in order, and now and then with
	// Progress. It returns when ctx ends, with the reason when the watch breaks or has a gap (compaction, a cut-off
	// member, a restart): whoever still wants it calls again, and gets a new Listing. f must not block. A store without
	// push (Info) lists at the poll interval that it was made with, which for the reader is the same. Records of a watch
	// carry no stock copies, and names that only stock engines published are not among them: Get reads those.
	Watch(ctx context.Context, f func(Event)) error
	// Remake replaces the store ID by a fresh one if it still is seen, for everyone who notices that the store went back.
	Remake(ctx context.Context, seen string) (storeID string, err error)
	// Close ends everything; leases that were not released run out.
	Close() error
}

// Info describes a store for status, logs and the table of what is kept.
type Info struct {
	Kind  string  `json:"kind"` // etcd, http, stock-http, mem, p2p
	URL   string  `json:"url"`  // without passwords
	Caps  Caps    `json:"caps"`
	Lacks []Lack  `json:"lacks,omitempty"`
	Poll  float64 `json:"poll_seconds,omitempty"` // a store without push: how often it is listed
	Keys  Keys    `json:"-"`                      // where what is named in errors lies
}

// Caps are what the store itself offers.
type Caps struct {
	Epochs         bool `json:"epochs"`
	CompareAndSet  bool `json:"compare_and_set"`
	Leases         bool `json:"leases"`
	Push           bool `json:"push"`
	NameEnumerable bool `json:"list"` // names can be listed at all
}

// Lack is a promise that this store cannot keep.
type Lack struct {
	Invariant string `json:"invariant"` // S6
	Reason    string `json:"reason"`
}

// Owner is the value of a name's owner key. The zero value: nobody.
type Owner struct {
	Instance types.InstanceID
	StoreID  string
	Epoch    uint64 // the store's revision of the key, written once per ownership
}

// Owned reports whether somebody owns the name.
func (o Owner) Owned() bool { return !o.Instance.IsZero() }

// Record is all that a store knows of one name at one moment.
type Record struct {
	Name         string
	StoreID      string // of the store; 32 hex digits, or empty where there is none
	Revision     uint64 // of the store at the reading; it goes back only if the store did
	Owner        Owner
	Head         []byte // as published (descriptor.DecodeHead); nil: none
	HeadRevision uint64 // 0: none
	Stock        []byte // what stock readers read under this name; nil: none
}

// Empty reports whether nothing is published under the name.
func (r *Record) Empty() bool { return !r.Owner.Owned() && r.Head == nil && r.Stock == nil }

// AcquireRequest asks for a name.
type AcquireRequest struct {
	Name     string
	Instance types.InstanceID
	TTL      time.Duration
	// Takeover is the record of the present owner that was seen: it is replaced if nothing of it (owner, head, store ID)
	// changed since, and its lease is revoked.
	Takeover *Record
}

// Ownership is proof of having owned a name at one moment; whether it still holds is for the store to say each time.
type Ownership struct {
	Name     string
	Instance types.InstanceID
	StoreID  string
	Epoch    uint64
	Lease    string // the store's own handle
}

// Holds reports whether the record names this very ownership.
func (o *Ownership) Holds(r *Record) bool {
	return r.StoreID == o.StoreID && r.Owner.StoreID == o.StoreID && r.Owner.Instance == o.Instance && r.Owner.Epoch == o.Epoch
}

// PublishRequest is one write of a head.
type PublishRequest struct {
	Head  []byte
	Last  uint64     // revision of the head that it replaces; 0: there is none
	Stock []StockKey // complete set of stock keys to lie beside it; nil: none
}

// StockKey is a key of the stock layout, relative to its prefix: "ram/<segment>", "rpc_meta/<server>".
type StockKey struct {
	Key   string
	Value []byte
}

// PublishResult says how a publish ended.
type PublishResult struct {
	Revision uint64  // of the head, if it landed
	Lost     *Record // the compare was lost: what lies there instead
}

// Event is one call of a watch; exactly one field is set.
type Event struct {
	Listing  *Listing
	Changed  *Record   // a name's owner or head changed; Empty when both are gone
	Progress *Progress // nothing changed up to here
}

// Listing is the whole of a store at one revision.
type Listing struct {
	StoreID  string
	Revision uint64
	Records  []Record
}

// Progress is proof that the watch is alive and complete up to a revision.
type Progress struct{ Revision uint64 }
