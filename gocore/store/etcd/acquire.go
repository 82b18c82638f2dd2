package etcd

import (
	"context"
	"errors"
	"time"

	mvccpb "go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

type keyValue = mvccpb.KeyValue

var errChanging = errors.New("the store's ID keeps changing")

// maxTries bounds how often a claim starts over because the store's ID changed beneath it.
const maxTries = 4

// Acquire takes a name under a lease of its own.
func (s *Store) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	const op = "acquire"
	if err := store.CheckAcquire(op, r); err != nil {
		return store.Ownership{}, err
	}
	lease, err := s.grant(ctx, op, r.TTL)
	if err != nil {
		return store.Ownership{}, err
	}
	o := store.Ownership{Name: r.Name, Instance: r.Instance, Lease: leaseText(lease)}
	if err = s.claim(ctx, op, lease, &o, r.Takeover); err == nil {
		return o, nil
	}
	// A claim that may have landed keeps its lease: read back, it is there, and it runs out by itself.
	if !store.IsUnknown(err) {
		s.revoke(ctx, op, lease)
	}
	return store.Ownership{}, err
}

// claim writes the owner key and fills in o.
func (s *Store) claim(ctx context.Context, op string, lease clientv3.LeaseID, o *store.Ownership, seen *store.Record) error {
	for range maxTries {
		id, err := s.storeID(ctx, op)
		if err != nil {
			return err
		}
		o.StoreID = id
		owner, head := s.options.Keys.Owner(o.Name), s.options.Keys.Head(o.Name)
		cmps := []clientv3.Cmp{clientv3.Compare(clientv3.Value(s.options.Keys.StoreID()), "=", id)}
		if seen != nil {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(owner), "=", int64(seen.Owner.Epoch)),
				clientv3.Compare(clientv3.ModRevision(head), "=", int64(seen.HeadRevision)))
			cmps[0] = clientv3.Compare(clientv3.Value(s.options.Keys.StoreID()), "=", seen.StoreID)
			o.StoreID = seen.StoreID
		} else {
			cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(owner), "=", 0))
		}
		answer, err := s.txn(ctx, op, true, cmps, []clientv3.Op{
			clientv3.OpGet(owner), clientv3.OpPut(owner, encodeOwner(*o), clientv3.WithLease(lease)), clientv3.OpDelete(head),
		}, s.readOps(o.Name))
		if err != nil {
			return err
		}
		if answer.Succeeded {
			o.Epoch = uint64(answer.Header.Revision)
			if old := first(answer.Responses[0]); old != nil && old.Lease != 0 {
				s.revoke(ctx, op, clientv3.LeaseID(old.Lease))
			}
			return nil
		}
		now, err := s.record(op, o.Name, answer)
		switch {
		case err != nil:
			return err
		case now.Owner.Owned():
			return &store.OwnedError{Record: now}
		}
		seen = nil // nobody is left, or the store ID changed: a plain claim, under the present one
	}
	return store.Unavailable(op, s.url, errChanging)
}

func (s *Store) grant(ctx context.Context, op string, ttl time.Duration) (clientv3.LeaseID, error) {
	var id clientv3.LeaseID
	err := s.call(ctx, op, false, func(ctx context.Context) error {
		answer, err := s.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			id = answer.ID
		}
		return err
	})
	return id, err
}

// revoke ends a lease and deletes what lies on it. If it cannot, the lease runs out.
func (s *Store) revoke(ctx context.Context, op string, lease clientv3.LeaseID) {
	if err := s.tryRevoke(ctx, op, lease); err != nil {
		s.options.Logger.Warn("a lease could not be revoked; it runs out", "store", s.url, "lease", leaseText(lease), "error", err)
	}
}

// parseOwnership reads the handle of an ownership.
func parseOwnership(op string, o store.Ownership) (clientv3.LeaseID, error) {
	id, err := parseLease(o.Lease)
	if err != nil {
		return 0, errcode.New(errcode.InvalidArgument, op, "this ownership is of another store").Wrap(err)
	}
	return id, nil
}
