package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// Decode reads one document. Bytes that are not UTF-8 are refused: encoding/json would replace them, and two names could
// become one. Unknown fields are left to newer versions.
func Decode(text []byte, into any) error {
	if !utf8.Valid(text) {
		return errors.New("the document is not UTF-8")
	}
	return json.Unmarshal(text, into)
}

// Store reads an owner; nil is nobody.
func (o *Owner) Store() (store.Owner, error) {
	if o == nil {
		return store.Owner{}, nil
	}
	id, err := types.ParseInstanceID(o.Instance)
	switch {
	case err != nil:
		return store.Owner{}, fmt.Errorf("owner: %w", err)
	case id.IsZero():
		return store.Owner{}, errors.New("owner: the instance ID is zero")
	case o.Epoch == 0:
		return store.Owner{}, errors.New("owner: the epoch is 0")
	}
	if err := checkStoreID(o.StoreID); err != nil {
		return store.Owner{}, fmt.Errorf("owner: %w", err)
	}
	return store.Owner{Instance: id, StoreID: o.StoreID, Epoch: o.Epoch}, nil
}

// Store reads a record and checks that it makes sense.
func (r *Record) Store() (*store.Record, error) {
	if r == nil {
		return nil, errors.New("the record is missing")
	}
	owner, err := r.Owner.Store()
	switch {
	case err != nil:
		return nil, err
	case store.CheckName("read record", r.Name) != nil:
		return nil, fmt.Errorf("name %.80q cannot be a segment's", r.Name)
	case len(r.Head) > MaxHead:
		return nil, fmt.Errorf("head has %d bytes, more than %d", len(r.Head), MaxHead)
	case (r.Head == nil) != (r.HeadRevision == 0):
		return nil, fmt.Errorf("head_revision is %d, and the head has %d bytes", r.HeadRevision, len(r.Head))
	}
	if err := checkStoreID(r.StoreID); err != nil {
		return nil, err
	}
	return &store.Record{
		Name: r.Name, StoreID: r.StoreID, Revision: r.Revision, Owner: owner,
		Head: r.Head, HeadRevision: r.HeadRevision, Stock: r.Stock,
	}, nil
}

// Store reads the compare set of a takeover; nil is none.
func (s *Seen) Store(name string) (*store.Record, error) {
	if s == nil {
		return nil, nil
	}
	owner, err := s.Owner.Store()
	if err != nil {
		return nil, fmt.Errorf("takeover: %w", err)
	}
	return &store.Record{Name: name, StoreID: s.StoreID, Owner: owner, HeadRevision: s.HeadRevision}, nil
}

func checkStoreID(id string) error {
	if _, err := types.ParseInstanceID(id); err != nil {
		return fmt.Errorf("store_id %.40q is not 32 hexadecimal digits", id)
	}
	return nil
}
