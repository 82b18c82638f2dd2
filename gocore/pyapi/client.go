package pyapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/describe"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

// defaultTimeout bounds one call.
const defaultTimeout = 10 * time.Second

// Options say where the metadata is. Empty means none, or the default.
type Options struct {
	URL       string // etcd://..., http(s)://..., mem://NAME
	ClusterID string
	Token     string // of our metadata server
	TLSCert   string // PEM files, for the store
	TLSKey    string
	TLSCA     string
	PSK       string // of the engines, to ask them for their buffers
	TimeoutMS int    // for one call; default 10,000
}

// Client reads one cluster's metadata.
type Client struct {
	store   store.Store
	timeout time.Duration
	psk     string

	mu     sync.Mutex
	node   *control.Node // asks owners; started by the first Describe that needs it
	closed bool
}

// OpenClient opens the store at a URL, for a cluster ID that may be empty. It does no I/O.
func OpenClient(url, clusterID string) (c *Client, err error) {
	defer recovered("open metadata client", &err)
	return OpenClientWith(&Options{URL: url, ClusterID: clusterID})
}

// OpenClientWith opens a store that wants certificates, a token, or another timeout.
func OpenClientWith(o *Options) (c *Client, err error) {
	const op = "open metadata client"
	defer recovered(op, &err)
	timeout := time.Duration(o.TimeoutMS) * time.Millisecond
	switch {
	case o.TimeoutMS < 0:
		return nil, errcode.New(errcode.InvalidArgument, op, "TimeoutMS is negative")
	case o.TimeoutMS == 0:
		timeout = defaultTimeout
	}
	s, err := open.Store(o.URL, open.Options{
		ClusterID: o.ClusterID, Token: o.Token, TLSCert: o.TLSCert, TLSKey: o.TLSKey, TLSCA: o.TLSCA,
		Timeout: timeout, Poll: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return &Client{store: s, timeout: timeout, psk: o.PSK}, nil
}

// Describe says what the store knows of a name and what its owner says of itself, as `mooncake-te describe --json` does.
func (c *Client) Describe(name string) (text string, err error) {
	defer recovered("describe segment", &err)
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	d, err := describe.Name(ctx, c.store, name, c.fetch)
	if err != nil {
		return "", err
	}
	return encode(d)
}

// List describes all names of the cluster, in their order, as the store knows them: no owner is asked.
func (c *Client) List() (text string, err error) {
	const op = "list segments"
	defer recovered(op, &err)
	info := c.store.Info()
	if !info.Caps.NameEnumerable {
		return "", errcode.New(errcode.Unsupported, op, "the store "+info.URL+" cannot list names").
			WithHint("describe the names that you know, or use etcd or our metadata server")
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	var listing *store.Listing
	err = c.store.Watch(ctx, func(e store.Event) {
		if e.Listing != nil && listing == nil {
			listing = e.Listing
			cancel()
		}
	})
	if listing == nil {
		return "", err
	}
	out := []*describe.Description{}
	for i := range listing.Records {
		out = append(out, describe.Record(ctx, info, &listing.Records[i], nil))
	}
	slices.SortFunc(out, func(a, b *describe.Description) int { return strings.Compare(a.Name, b.Name) })
	return encode(out)
}

// Close ends the client. Calls under way end with an error.
func (c *Client) Close() (err error) {
	defer recovered("close metadata client", &err)
	c.mu.Lock()
	node, closed := c.node, c.closed
	c.node, c.closed = nil, true
	c.mu.Unlock()
	if closed {
		return nil
	}
	if node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		err = node.Close(ctx)
	}
	return errors.Join(err, c.store.Close())
}

func (c *Client) fetch(ctx context.Context, head *descriptor.Head) (*descriptor.Descriptor, error) {
	node, err := c.asker()
	if err != nil {
		return nil, err
	}
	return node.Describe(ctx, head.Addresses, head.Instance)
}

func (c *Client) asker() (*control.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errcode.New(errcode.Closed, "describe segment", "the client is closed")
	}
	if c.node == nil {
		node, err := control.Start(control.Config{
			Instance: types.NewInstanceID(), Name: "metadata client", PSK: []byte(c.psk),
			Handler: reader{}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		c.node = node
	}
	return c.node, nil
}

// reader takes part in no session: it asks and publishes nothing.
type reader struct{}

func (reader) SessionUp(s control.Session, _ *controlpb.Hello) {
	s.Close(errcode.New(errcode.Unsupported, "session", "this is a metadata client, not an engine"))
}
func (reader) Event(control.Session, *controlpb.Event)          {}
func (reader) SessionDown(control.Session, error)               {}
func (reader) Describe(types.InstanceID) *descriptor.Descriptor { return nil }

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
