// Package describe answers an operator's question about one name: what the store says of it, and what its owner says of
// itself. It only reads, decides nothing and keeps nothing; engine.describe, `mooncake-te describe` and gocore/pyapi give
// the same answer because they all ask here.
package describe

import (
	"context"
	"errors"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// Description is everything that is known of a name at one moment. From says whose word the descriptor is: "owner" (it
// answered, so the buffers are complete), "store" (its head alone; Unreachable says why), "stock" (a stock engine's
// document), or "" when nothing is published.
type Description struct {
	Name         string            `json:"name"`
	From         string            `json:"from"`
	Store        store.Info        `json:"store"`
	StoreID      string            `json:"store_id"`
	Revision     uint64            `json:"revision,string"`
	Owner        *Owner            `json:"owner"` // nil: nobody owns the name
	HeadRevision uint64            `json:"head_revision,string"`
	Invalid      string            `json:"invalid,omitempty"`     // why what lies there cannot be read
	Unreachable  string            `json:"unreachable,omitempty"` // why the owner did not answer
	Descriptor   *descriptor.Shown `json:"descriptor"`            // nil: none, or unreadable

	// Of is the descriptor itself, for comparing two descriptions.
	Of *descriptor.Descriptor `json:"-"`
}

// Owner is who owns the name in the store.
type Owner struct {
	Instance string `json:"instance_id"`
	Epoch    uint64 `json:"owner_epoch,string"`
	StoreID  string `json:"store_id"`
}

// Fetch asks an instance for its whole descriptor.
type Fetch func(ctx context.Context, head *descriptor.Head) (*descriptor.Descriptor, error)

// Name asks the store for a name and, if an engine of ours published it, that engine for its buffers. A name under which
// nothing lies is a Description that says so; an error is that of the store.
func Name(ctx context.Context, s store.Store, name string, fetch Fetch) (*Description, error) {
	const op = "describe segment"
	if err := store.CheckName(op, name); err != nil {
		return nil, err
	}
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return Record(ctx, s.Info(), &r, fetch), nil
}

// Record describes what was read of a name. Without fetch nobody is asked, and the head stands for the descriptor.
func Record(ctx context.Context, info store.Info, r *store.Record, fetch Fetch) *Description {
	out := &Description{Name: r.Name, Store: info, StoreID: r.StoreID, Revision: r.Revision, HeadRevision: r.HeadRevision}
	if r.Owner.Owned() {
		out.Owner = &Owner{Instance: r.Owner.Instance.String(), Epoch: r.Owner.Epoch, StoreID: r.Owner.StoreID}
	}
	switch {
	case r.Head != nil:
		out.ours(ctx, r, fetch)
	case r.Stock != nil:
		out.stock(r)
	}
	return out
}

func (d *Description) ours(ctx context.Context, r *store.Record, fetch Fetch) {
	head, err := descriptor.DecodeHead(r.Head)
	if err != nil {
		d.From, d.Invalid = "store", err.Error()
		return
	}
	var whole *descriptor.Descriptor
	if fetch != nil {
		if whole, err = fetch(ctx, head); err != nil {
			d.Unreachable = reason(err)
		}
	}
	if whole == nil {
		shown := descriptor.ShowHead(head, false)
		d.From, d.Descriptor = "store", &shown
		d.Of = &descriptor.Descriptor{Head: *head}
		return
	}
	whole.Epoch, whole.StoreID = head.Epoch, head.StoreID // which an owner does not say of itself
	shown := descriptor.Show(whole, false)
	d.From, d.Descriptor, d.Of = "owner", &shown, whole
}

func (d *Description) stock(r *store.Record) {
	d.From = "stock"
	whole, legacy, err := descriptor.DecodeStock("ram/"+r.Name, r.Stock)
	if err != nil {
		d.Invalid = err.Error()
		return
	}
	shown := descriptor.Show(whole, legacy)
	d.Descriptor, d.Of = &shown, whole
}

// reason is an error without its hint: the reader of a description is not the one who can follow it.
func reason(err error) string {
	var typed *errcode.Error
	if errors.As(err, &typed) && typed.Detail != "" {
		return typed.Code.String() + ": " + typed.Detail
	}
	return err.Error()
}
