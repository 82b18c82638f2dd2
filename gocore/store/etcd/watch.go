package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/store"
)

// patience is how many rounds of progress may pass in silence, or with a member behind what was listed, before a watch
// ends.
const patience = 5

var (
	errSilent  = errors.New("the watch hears nothing any more")
	errBehind  = errors.New("the member is behind what was listed and does not catch up")
	errStoreID = errors.New("the store ID changed")
)

// Watch lists, then tells what the server's watch tells. One stream serves one Watch; when it breaks, for whatever
// reason, the Watch ends: what happened in between only a listing tells, and whether it still is the same store too.
func (s *Store) Watch(ctx context.Context, f func(store.Event)) error {
	const op = "watch"
	v, err := s.list(ctx, op)
	if err != nil {
		return err
	}
	f(store.Event{Listing: v.listing()})
	var ended error
	err = s.call(ctx, op, false, func(ctx context.Context) error {
		created, err := s.follow(ctx, v, f)
		if created {
			ended, err = err, nil // not to be followed on another stream
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	return s.explain(op, false, ended)
}

// list reads all names at one revision.
func (s *Store) list(ctx context.Context, op string) (*view, error) {
	k := s.options.Keys
	answer, err := s.txn(ctx, op, false, nil, []clientv3.Op{
		clientv3.OpGet(k.StoreID()), clientv3.OpGet(k.Owner(""), clientv3.WithPrefix()), clientv3.OpGet(k.Head(""), clientv3.WithPrefix()),
	}, nil)
	if err != nil {
		return nil, err
	}
	v := newView(k, answer.Header.Revision, s.options.Logger)
	for _, r := range answer.Responses {
		for _, kv := range r.GetResponseRange().GetKvs() {
			v.put(kv)
		}
	}
	return v, nil
}

// follow runs one stream to its end, which always has a reason.
func (s *Store) follow(ctx context.Context, v *view, f func(store.Event)) (created bool, _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(ctx)
	if err != nil {
		return created, err
	}
	prefix := s.options.Keys.Ours()
	// From the listed revision, not the one after it: current servers do not say how far they are to a watch that starts
	// in the future. The events of that revision are dropped.
	if err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), StartRevision: v.revision,
	}}}); err != nil {
		_, err = stream.Recv() // a failed Send shows its reason here
		return created, err
	}
	var heard atomic.Int64 // rounds since the last response
	var asking sync.WaitGroup
	asking.Go(func() { s.ask(ctx, cancel, stream, &heard) })
	defer asking.Wait()
	defer cancel(nil)
	p := progress{least: v.revision}
	for {
		answer, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
				return created, cause
			}
			return created, err
		}
		heard.Store(0)
		switch {
		case answer.Canceled || answer.CompactRevision != 0:
			return created, canceled(answer)
		case answer.Created:
			created = true
		case len(answer.Events) > 0:
			changed, err := v.apply(answer.Events)
			for i := range changed {
				f(store.Event{Changed: &changed[i]})
			}
			if err != nil {
				return created, err
			}
			p.least = v.revision
		default:
			revision, proved, err := p.answer(answer.Header.GetRevision())
			if err != nil {
				return created, err
			}
			if proved {
				f(store.Event{Progress: &store.Progress{Revision: uint64(revision)}})
			}
		}
	}
}

// ask asks how far the server is, round by round, and ends the stream when it stays silent.
func (s *Store) ask(ctx context.Context, cancel context.CancelCauseFunc, stream pb.Watch_WatchClient, heard *atomic.Int64) {
	tick := time.NewTicker(s.options.Progress)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if heard.Add(1) > patience {
			cancel(errSilent)
			return
		}
		// If it cannot be sent, Recv says why.
		_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
	}
}

// progress holds an answer back until the next one: servers before 3.4.25 and 3.5.8 may send one ahead of the events that
// it covers (etcd issue 15220).
type progress struct {
	least  int64 // told already; a member that is behind it proves nothing
	held   int64
	behind int
}

func (p *progress) answer(revision int64) (proved int64, ok bool, err error) {
	if revision < p.least {
		if p.behind++; p.behind > patience {
			return 0, false, errBehind
		}
		return 0, false, nil
	}
	p.behind = 0
	proved, p.held = p.held, revision
	return proved, proved >= p.least && proved != 0, nil
}

// canceled is why the server ended the watch.
func canceled(answer *pb.WatchResponse) error {
	if answer.CompactRevision != 0 {
		return fmt.Errorf("%w, up to revision %d", rpctypes.ErrCompacted, answer.CompactRevision)
	}
	if reason := rpctypes.Error(status.Error(codes.Unknown, answer.CancelReason)); answer.CancelReason != "" {
		return reason
	}
	return errors.New("the server ended the watch")
}
