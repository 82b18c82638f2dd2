package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/store"
)

// call runs one request and types its error. What a server refused before it looked at the request (a stale token, no
// leader) is asked again: with another token, of the next member. What only reads is asked once more if a member could not
// be asked or broke off.
func (s *Store) call(ctx context.Context, op string, write bool, request func(context.Context) error) error {
	if s.closed.Load() {
		return store.Closed(op, s.url)
	}
	ctx = clientv3.WithRequireLeader(ctx)
	since := 0
	for try := 0; ; try++ {
		round, err := s.auth.ensure(ctx, s.client, since)
		if err != nil {
			return s.explain(op, false, err)
		}
		sending, flag := withSent(ctx)
		err = request(sending)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
		case s.auth.user != "" && stale(err) && try == 0:
			since = round
			continue
		case errors.Is(rpctypes.Error(err), rpctypes.ErrNoLeader) && try < len(s.options.Endpoints):
			continue
		case !write && unavailable(err) && try == 0:
			continue
		}
		return s.explain(op, write && flag.sent.Load(), err)
	}
}

func unavailable(err error) bool {
	var answered rpctypes.EtcdError
	if errors.As(err, &answered) {
		return answered.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

// txn commits one transaction.
func (s *Store) txn(ctx context.Context, op string, write bool, cmps []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	var answer *clientv3.TxnResponse
	err := s.call(ctx, op, write, func(ctx context.Context) (err error) {
		answer, err = s.client.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
		return err
	})
	return answer, err
}
