package cluster

import (
	"errors"
	"fmt"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// decode reads the documents of a record. What cannot be read is said in the error and marked in the record, which is
// usable all the same: who owns the name does not depend on it.
func decode(r *store.Record, info store.Info) (coherence.StoreRecord, error) {
	out := coherence.StoreRecord{
		Name: r.Name, StoreID: r.StoreID, Revision: r.Revision,
		Owner: r.Owner.Instance, OwnerStoreID: r.Owner.StoreID, Epoch: r.Owner.Epoch, HeadRevision: r.HeadRevision,
	}
	var err error
	switch {
	case r.Head != nil:
		out.Head, err = descriptor.DecodeHead(r.Head)
		if err == nil && out.Head.Name != r.Name {
			err = errcode.New(errcode.MetadataInvalid, "read head", fmt.Sprintf("name: it says %.80q", out.Head.Name))
		}
	case r.Stock != nil:
		var d *descriptor.Descriptor
		if d, out.Legacy, err = descriptor.DecodeStock("ram/"+r.Name, r.Stock); err == nil {
			out.Head = &d.Head
		}
	}
	if err != nil {
		out.Head, out.HeadBad = nil, true
		key := info.Keys.Head(r.Name)
		if r.Head == nil {
			key = info.Keys.RAM(r.Name)
		}
		err = named(err, r.Name, key, info)
	}
	return out, err
}

// named adds segment, key and store to what a decoder says, which names the field.
func named(err error, name, key string, info store.Info) error {
	var typed *errcode.Error
	if !errors.As(err, &typed) {
		return err
	}
	out := *typed
	out.Segment = name
	out.Detail = fmt.Sprintf("key %q in %s: %s", key, info.URL, typed.Detail)
	return &out
}
