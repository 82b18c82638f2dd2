package etcd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/etcd"
	"mooncake_te/gocore/types"
)

// owner holds a name and publishes to it whatever becomes of single members: a lost answer is read back.
type owner struct {
	t    *testing.T
	s    *etcd.Store
	o    store.Ownership
	last uint64
	head string
}

func newOwner(t *testing.T, c *etcdtest.Cluster) *owner {
	w := &owner{t: t, s: open(t, "c", nil, c.Endpoints()...)}
	t.Cleanup(func() { require.NoError(t, w.s.Close()) })
	var err error
	w.o, err = w.s.Acquire(t.Context(), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: 10 * time.Second})
	require.NoError(t, err)
	return w
}

// publish gets a head into the store, within a minute.
func (w *owner) publish(head string) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		require.True(w.t, time.Now().Before(deadline), "the store takes nothing any more")
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		result, err := w.s.Publish(ctx, w.o, store.PublishRequest{Head: []byte(head), Last: w.last})
		var lies *store.Record
		if err == nil {
			lies = result.Lost
		} else {
			require.Equal(w.t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
			if r, err := w.s.Get(ctx, "x"); err == nil {
				lies = &r
			}
		}
		cancel()
		switch {
		case err == nil && lies == nil:
			w.last, w.head = result.Revision, head
			return
		case lies != nil && string(lies.Head) == head:
			w.last, w.head = lies.HeadRevision, head
			return
		case lies != nil:
			require.True(w.t, w.o.Holds(lies), "the ownership is lost: %+v", lies)
			require.Equal(w.t, w.head, string(lies.Head), "what lies there is our last")
		}
	}
}

// TestThreeMembers: each member in turn is killed, frozen and cut off. The owner goes on publishing, keeps its epoch, and
// a reader that watches has every head in the end.
func TestThreeMembers(t *testing.T) {
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testThreeMembers(t, version)
		})
	}
}

func testThreeMembers(t *testing.T, version string) {
	c := etcdtest.Start(t, etcdtest.Options{Version: version, Members: 3})
	w := newOwner(t, c)
	reader := open(t, "c", nil, c.Endpoints()...)
	defer func() { require.NoError(t, reader.Close()) }()
	seen := make(chan string, 10_000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var last uint64
		note := func(r *store.Record) {
			// Never back, over as many members and listings as it takes.
			if r.HeadRevision < last {
				t.Errorf("head revision %d after %d", r.HeadRevision, last)
			}
			last = max(last, r.HeadRevision)
			seen <- string(r.Head)
		}
		for ctx.Err() == nil {
			try, cancel := context.WithTimeout(ctx, time.Minute)
			_ = reader.Watch(try, func(e store.Event) {
				if e.Changed != nil {
					note(e.Changed)
				} else if e.Listing != nil {
					for i := range e.Listing.Records {
						note(&e.Listing.Records[i])
					}
				}
			})
			cancel()
		}
	}()
	defer func() { stop(); <-ended }()
	reaches := func(head string) {
		t.Helper()
		late := time.After(time.Minute)
		for {
			select {
			case got := <-seen:
				if got == head {
					return
				}
			case <-late:
				require.Fail(t, "the reader never saw "+head)
			}
		}
	}
	step := func(what string, hurt, heal func()) {
		t.Helper()
		hurt()
		for i := range 3 {
			w.publish(fmt.Sprintf("%s, %d", what, i))
		}
		reaches(what + ", 2")
		heal()
		w.publish(what + ", healed")
		reaches(what + ", healed")
		c.Ready()
		r, err := w.s.Renew(t.Context(), w.o)
		for err != nil && t.Context().Err() == nil {
			r, err = w.s.Renew(t.Context(), w.o)
		}
		require.True(t, w.o.Holds(&r))
	}
	for i, m := range c.Members {
		step(fmt.Sprintf("member %d killed", i), m.Kill, m.Start)
		step(fmt.Sprintf("member %d frozen", i), m.Freeze, m.Thaw)
		step(fmt.Sprintf("member %d cut off", i), m.Isolate, m.Rejoin)
	}
}

// TestWatchOnCutOffMember: a member without a leader serves no watch, so that nobody trusts what it does not hear.
func TestWatchOnCutOffMember(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	s := open(t, "c", nil, c.Members[0].Address())
	defer func() { require.NoError(t, s.Close()) }()
	listed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(t.Context(), func(e store.Event) {
			if e.Listing != nil {
				listed <- struct{}{}
			}
		})
	}()
	<-listed
	c.Members[0].Isolate()
	defer c.Members[0].Rejoin()
	select {
	case err := <-ended:
		require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
	case <-time.After(time.Minute):
		require.Fail(t, "the watch goes on")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.Get(ctx, "x")
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
}
