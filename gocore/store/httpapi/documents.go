// Package httpapi is what our metadata server and its clients say to each other: paths, JSON documents, the event
// stream. docs/protocol.md describes it. It decides nothing and does no I/O of its own but to read and write a stream
// that it is handed. Values are plain; nothing here is shared between goroutines.
//
// The stock protocol (GET, PUT and DELETE of one key) needs no documents and is not here.
package httpapi

import (
	"mooncake_te/gocore/store"
)

// ServerName says in Info that a server is ours.
const ServerName = "mooncake_te metadata server"

// Protocol is the version that both sides of this package speak.
const Protocol = 1

// Paths below the base path of a server.
const (
	InfoPath    = "/v1/info"
	RecordPath  = "/v1/record"  // GET ?cluster=&name=
	RecordsPath = "/v1/records" // GET ?cluster=
	WatchPath   = "/v1/watch"   // GET ?cluster=[&progress_ms=]
	AcquirePath = "/v1/acquire" // POST, as those below
	PublishPath = "/v1/publish"
	RenewPath   = "/v1/renew"
	ReleasePath = "/v1/release"
	RemakePath  = "/v1/remake"
)

// Caps, in bytes unless they say otherwise.
const (
	MaxHead  = 64 << 10
	MaxStock = 16 << 20 // all stock values of one publish, and any one value
	// MaxStockKeys bounds the stock keys of one publish.
	MaxStockKeys = 64
	// MaxSmall bounds a request without stock values: a head in base64 and the rest.
	MaxSmall = 128 << 10
	// MaxDocument bounds everything: stock values in base64 and the rest.
	MaxDocument = 24 << 20
)

// Info answers GET InfoPath.
type Info struct {
	Server   string `json:"server"`
	Protocol int    `json:"protocol"`
	Library  string `json:"library"`
}

// Owner is a name's owner; a missing one is nobody.
type Owner struct {
	Instance string `json:"instance"` // 32 hex digits
	StoreID  string `json:"store_id"` // under which it was acquired
	Epoch    uint64 `json:"epoch"`
}

// Record is all that the server knows of one name.
type Record struct {
	Name         string `json:"name"`
	StoreID      string `json:"store_id"`
	Revision     uint64 `json:"revision"` // of the server at the reading; in a stream: of the change
	Owner        *Owner `json:"owner,omitempty"`
	Head         []byte `json:"head,omitempty"` // base64, as everything of type []byte
	HeadRevision uint64 `json:"head_revision,omitempty"`
	// Stock is what stock readers get for "ram/<name>". Never in a stream or listing: it may be large.
	Stock []byte `json:"stock,omitempty"`
}

// Records answers GET RecordsPath, with records as in a stream.
type Records struct {
	StoreID  string   `json:"store_id"`
	Revision uint64   `json:"revision"`
	Records  []Record `json:"records"`
}

// Acquire asks for a name. It answers 200 with Acquired, or 409 with Refusal.Record.
type Acquire struct {
	Cluster   string `json:"cluster"`
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	TTLMillis int64  `json:"ttl_ms"`
	Takeover  *Seen  `json:"takeover,omitempty"`
}

// Seen is the compare set of a takeover.
type Seen struct {
	StoreID      string `json:"store_id"`
	Owner        *Owner `json:"owner,omitempty"`
	HeadRevision uint64 `json:"head_revision"`
}

// Acquired is a new ownership.
type Acquired struct {
	Owner Owner `json:"owner"`
}

// Publish writes a head if Owner still owns the name under the present store ID and the head's revision is Last. It
// answers 200 with Published, or 409 with Refusal.Record.
type Publish struct {
	Cluster string     `json:"cluster"`
	Name    string     `json:"name"`
	Owner   Owner      `json:"owner"`
	Last    uint64     `json:"last"` // 0: there is no head
	Head    []byte     `json:"head"`
	Stock   []StockKey `json:"stock,omitempty"` // the complete set
}

// StockKey is a key of the stock layout, relative to "mooncake/[<cluster>/]".
type StockKey struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// Published says where the head landed.
type Published struct {
	Revision uint64 `json:"revision"`
}

// Holder is the body of RenewPath, answered 200 with the Record afterwards, and of ReleasePath, answered 200 with it too.
type Holder struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	Owner   Owner  `json:"owner"`
}

// Remake replaces the store ID of a cluster if it is Seen; answered 200 with Remade either way.
type Remake struct {
	Cluster string `json:"cluster"`
	Seen    string `json:"seen"`
}

// Remade is the store ID afterwards.
type Remade struct {
	StoreID string `json:"store_id"`
}

// Refusal is the body of every answer that is not 200.
type Refusal struct {
	Detail string  `json:"detail"`
	Record *Record `json:"record,omitempty"` // 409: what lies there instead
}

// FromOwner and FromRecord turn what the store interface says into documents.
func FromOwner(o store.Owner) *Owner {
	if !o.Owned() {
		return nil
	}
	return &Owner{Instance: o.Instance.String(), StoreID: o.StoreID, Epoch: o.Epoch}
}

// FromRecord makes the document of a record.
func FromRecord(r *store.Record) Record {
	return Record{
		Name: r.Name, StoreID: r.StoreID, Revision: r.Revision, Owner: FromOwner(r.Owner),
		Head: r.Head, HeadRevision: r.HeadRevision, Stock: r.Stock,
	}
}
