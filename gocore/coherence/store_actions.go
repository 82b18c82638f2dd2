package coherence

import (
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// What Publisher and Directory know of a store's record: gocore/store's Record with its head decoded, so that this
// package needs no store.
type StoreRecord struct {
	Name         string
	StoreID      string
	Revision     uint64
	Owner        types.InstanceID // zero: nobody
	OwnerStoreID string           // as written by the owner
	Epoch        uint64
	Head         *descriptor.Head // nil: none, or HeadBad
	HeadRevision uint64
	HeadBad      bool // a head lies there that cannot be read
	Legacy       bool // only a stock descriptor lies there (Head is made from it, Version 1 if it has none)
}

// ---- actions of Publisher (one segment name of one owner in one store). Each store action gets exactly one answer.

// StoreAcquire: ask for the name; answer by Acquired or AcquireFailed. Takeover is the record to replace, or nil.
type StoreAcquire struct{ Takeover *StoreRecord }

// StorePublish: write the present head with Version under Epoch over the head revision Last; answer by Published,
// PublishLost or PublishFailed (with Unknown when it may have landed).
type StorePublish struct {
	Version types.Version
	Epoch   uint64
	StoreID string
	Last    uint64
}

// StoreReadBack: read the record; answer by ReadBack or ReadBackFailed.
type StoreReadBack struct{}

// StoreRenew: extend the lease and read the owner key; answer by Renewed or RenewFailed with the same SentAt.
type StoreRenew struct {
	Epoch  uint64
	SentAt types.Time
}

// StoreRelease: give the name back; answer by Released.
type StoreRelease struct{ Epoch uint64 }

// StoreRemake: the store went back (or is empty: Seen is ""); make a new store ID unless it changed since; answer by
// Remade with the ID that the store has now. Of Publisher and of Directory: answer whoever sent it.
type StoreRemake struct{ Seen string }

// RaiseVersion: the owner's counter must pass this version, found in the store, before the next publish; answer by
// Changed with the version that it took.
type RaiseVersion struct{ Above types.Version }

// OwnershipChanged tells status, log and metrics.
type OwnershipChanged struct {
	State   OwnershipState
	Epoch   uint64
	StoreID string
	Holder  types.InstanceID // of another owner: SEGMENT_OWNED, FENCED
	Code    errcode.Code
	Cause   string
}

// OwnershipState is where a Publisher stands.
type OwnershipState uint8

// The states.
const (
	NotWanted OwnershipState = iota
	Acquiring
	Owning
	Waiting   // another one owns the name; until its lease runs out
	FencedOut // another one took it, or our lease ended; nothing is published
	Releasing
)

// ---- actions of Directory (names of one reader in one store)

// DirGet: read the record of a name; answer by Got or GetFailed. One at a time per name.
type DirGet struct {
	Name string
	Why  string
}

// DirBind: reach exactly this instance at the head's addresses (a handshake), describe it and let its View adopt; answer
// by Bound. One at a time per name; the name keeps its present binding until then.
type DirBind struct {
	Name string
	Head *descriptor.Head
	Why  string
}

// DirAdopted: the name leads to this instance now; segments with this name follow (their old peer, if it is another
// instance, is replaced).
type DirAdopted struct {
	Name     string
	Instance types.InstanceID
	From     types.InstanceID // zero: first
	Epoch    uint64
	Version  types.Version
	Source   string // watch, get, open, sync
}

// DirAnswer ends one wait, of an open, a forced refresh or a sync: OK (the name leads to the instance that DirAdopted
// named last), SEGMENT_NOT_FOUND (never published), SEGMENT_GONE (it was there), METADATA_UNAVAILABLE, METADATA_REFUSED,
// METADATA_INVALID, PEER_UNREACHABLE.
type DirAnswer struct {
	Name   string
	Ticket uint64 // as given by Open, Refresh or Sync
	Code   errcode.Code
	Detail string
}

// DirGone: nothing lies under the name any more (released or expired); sessions go on.
type DirGone struct{ Name string }

// StoreWentBack: another store ID, or a revision that went back: counted and logged.
type StoreWentBack struct {
	From, To string
	Revision uint64
}

func (StoreAcquire) action()     {}
func (StorePublish) action()     {}
func (StoreReadBack) action()    {}
func (StoreRenew) action()       {}
func (StoreRelease) action()     {}
func (StoreRemake) action()      {}
func (RaiseVersion) action()     {}
func (OwnershipChanged) action() {}
func (DirGet) action()           {}
func (DirBind) action()          {}
func (DirAdopted) action()       {}
func (DirAnswer) action()        {}
func (DirGone) action()          {}
func (StoreWentBack) action()    {}
