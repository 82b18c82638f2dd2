package etcd

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/store"
)

// Renew extends the lease once, then reads the record. A lease that has run out is no error: the record says so.
func (s *Store) Renew(ctx context.Context, o store.Ownership) (store.Record, error) {
	const op = "renew"
	lease, err := parseOwnership(op, o)
	if err != nil {
		return store.Record{}, err
	}
	err = s.call(ctx, op, false, func(ctx context.Context) error { return s.keepAliveOnce(ctx, lease) })
	if err != nil {
		return store.Record{}, err
	}
	return s.read(ctx, op, o.Name)
}

// keepAliveOnce sends one request and waits for its answer. The library's function of this name asks again and again
// while there is no connection.
func (s *Store) keepAliveOnce(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewLeaseClient(s.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return clientv3.ContextError(ctx, err)
	}
	// A failed Send shows its reason at Recv.
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)})
	_ = stream.CloseSend()
	_, err = stream.Recv()
	return clientv3.ContextError(ctx, err)
}

// Release deletes owner, head and stock keys in one step if o still owns the name, and ends its lease in any case.
func (s *Store) Release(ctx context.Context, o store.Ownership) error {
	const op = "release"
	lease, err := parseOwnership(op, o)
	if err != nil {
		return err
	}
	k := s.options.Keys
	then := []clientv3.Op{clientv3.OpDelete(k.Owner(o.Name)), clientv3.OpDelete(k.Head(o.Name))}
	gone := s.stock.begin(o.Lease, nil)
	for _, key := range gone {
		then = append(then, clientv3.OpDelete(k.Stock()+key))
	}
	answer, err := s.txn(ctx, op, true, s.mine(o), then, nil)
	if err != nil {
		return err
	}
	if answer.Succeeded {
		s.stock.deleted(o.Lease, gone)
	}
	return s.tryRevoke(ctx, op, lease)
}

func (s *Store) tryRevoke(ctx context.Context, op string, lease clientv3.LeaseID) error {
	err := s.call(ctx, op, true, func(ctx context.Context) error {
		_, err := s.client.Revoke(ctx, lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
	if err == nil {
		s.stock.forget(leaseText(lease))
	}
	return err
}
