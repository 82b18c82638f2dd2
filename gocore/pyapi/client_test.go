package pyapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/describe"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// server is our metadata server.
func server(t *testing.T) string {
	t.Helper()
	s, err := metaserver.Start(metaserver.Options{Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s.URL()
}

func client(t *testing.T, url string) *Client {
	t.Helper()
	c, err := OpenClient(url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// owner is an engine as far as others can ask it.
type owner struct{ d *descriptor.Descriptor }

func (*owner) SessionUp(control.Session, *controlpb.Hello)        {}
func (*owner) Event(control.Session, *controlpb.Event)            {}
func (*owner) SessionDown(control.Session, error)                 {}
func (o *owner) Describe(types.InstanceID) *descriptor.Descriptor { return o.d }

// publish makes an owner of a name, with two buffers, and puts its head into the store. It returns how to end it.
func publish(t *testing.T, url, name string) (d *descriptor.Descriptor, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d = &descriptor.Descriptor{
		Head: descriptor.Head{Name: name, Instance: types.NewInstanceID(), Version: 7},
		Buffers: []descriptor.Buffer{
			{ID: 1, Length: 4096, State: types.Ready, Perm: types.PermRead, Label: "kv", Location: "cpu:0"},
			{ID: 4, Length: 8192, State: types.Draining, Perm: types.PermReadWrite, Location: "*"},
		},
	}
	node, err := control.Start(control.Config{Instance: d.Instance, Name: name, Handler: &owner{d}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	d.Addresses = node.Addresses()
	s, err := open.Store(url, open.Options{Timeout: patience})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	o, err := s.Acquire(ctx, store.AcquireRequest{Name: name, Instance: d.Instance, TTL: time.Hour})
	require.NoError(t, err)
	head := d.Head
	head.Epoch, head.StoreID, head.Buffers = o.Epoch, o.StoreID, 2
	_, err = s.Publish(ctx, o, store.PublishRequest{Head: descriptor.EncodeHead(&head)})
	require.NoError(t, err)
	d.Epoch, d.StoreID = o.Epoch, o.StoreID
	ended := false
	end = func() {
		if !ended {
			ended = true
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, node.Close(ctx))
		}
	}
	t.Cleanup(end)
	return d, end
}

func described(t *testing.T, text string) *describe.Description {
	t.Helper()
	var d describe.Description
	require.NoError(t, json.Unmarshal([]byte(text), &d))
	return &d
}

func TestDescribeAsksTheOwner(t *testing.T) {
	url := server(t)
	d, end := publish(t, url, "decode-0")
	c := client(t, url)
	text, err := c.Describe("decode-0")
	require.NoError(t, err)
	got := described(t, text)
	require.Equal(t, "owner", got.From)
	require.Equal(t, descriptor.Show(d, false), *got.Descriptor)
	require.Equal(t, d.Instance.String(), got.Owner.Instance)

	end()
	text, err = c.Describe("decode-0")
	require.NoError(t, err)
	gone := described(t, text)
	require.Equal(t, "store", gone.From, "of a dead owner the head")
	require.Contains(t, gone.Unreachable, "PEER_UNREACHABLE")
	require.Nil(t, gone.Descriptor.Buffers)
	require.Equal(t, uint64(2), gone.Descriptor.BufferCount)

	text, err = Diff(text, text)
	require.NoError(t, err)
	require.Equal(t, "[]", text)
}

func TestDescribeUnpublished(t *testing.T) {
	c := client(t, server(t))
	text, err := c.Describe("nobody")
	require.NoError(t, err)
	got := described(t, text)
	require.Empty(t, got.From)
	require.Nil(t, got.Owner)
	require.Nil(t, got.Descriptor)
	changed, err := Diff(text, text)
	require.NoError(t, err)
	require.Equal(t, "[]", changed)

	_, err = c.Describe("a/b")
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
}

func TestListAndStock(t *testing.T) {
	where := server(t)
	publish(t, where, "b")
	publish(t, where, "a")
	doc, err := os.ReadFile("../descriptor/testdata/stock/tcp.json")
	require.NoError(t, err)
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, where+"?key="+url.QueryEscape("mooncake/ram/127.0.0.1:12345"), strings.NewReader(string(doc)))
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(put)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	c := client(t, where)
	text, err := c.Describe("127.0.0.1:12345")
	require.NoError(t, err)
	got := described(t, text)
	require.Equal(t, "stock", got.From)
	decoded, err := Decode(string(doc))
	require.NoError(t, err)
	shown, err := json.Marshal(got.Descriptor)
	require.NoError(t, err)
	require.JSONEq(t, decoded, string(shown))

	text, err = c.List()
	require.NoError(t, err)
	var list []describe.Description
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	require.Subset(t, names, []string{"a", "b"})
	require.IsIncreasing(t, names)
	require.Nil(t, list[len(list)-1].Descriptor.Buffers, "no owner was asked")
}

func TestOpenRefusals(t *testing.T) {
	for _, bad := range []string{"", "nothing", "redis://h:1", "http://", "etcd://h:x"} {
		_, err := OpenClient(bad, "")
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%q: %v", bad, err)
	}
	_, err := OpenClient("mem://x", "a/b")
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = OpenClientWith(&Options{URL: "mem://x", TimeoutMS: -1})
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
}

func TestDeadStore(t *testing.T) {
	c, err := OpenClientWith(&Options{URL: "http://127.0.0.1:1/metadata", TimeoutMS: 2000})
	require.NoError(t, err)
	_, err = c.Describe("a")
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
	_, err = c.List()
	require.Error(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "twice is fine")
	_, err = c.Describe("a")
	require.Error(t, err)
}

// No mistake of a caller, and none of ours, may end the interpreter.
func TestPanicsBecomeErrors(t *testing.T) {
	_, err := OpenClientWith(nil)
	require.Equal(t, errcode.Internal, errcode.Of(err))
	var c *Client
	_, err = c.Describe("a")
	require.Equal(t, errcode.Internal, errcode.Of(err))
	_, err = c.List()
	require.Equal(t, errcode.Internal, errcode.Of(err))
	require.Equal(t, errcode.Internal, errcode.Of(c.Close()))
}
