package httpstore

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
)

// ours is a client of our own server. Arguments were checked.
type ours struct {
	link    *httplink.Link
	keys    store.Keys
	cluster string
	silence time.Duration
}

// Info says that everything is kept.
func (s *ours) Info() store.Info {
	return store.Info{
		Kind: "http", URL: s.link.URL(), Keys: s.keys,
		Caps: store.Caps{Epochs: true, CompareAndSet: true, Leases: true, Push: true, NameEnumerable: true},
	}
}

// post sends a document and reads the answer into another. A conflict gives the record that lies there instead.
func (s *ours) post(ctx context.Context, op, path string, write bool, document, into any) (*store.Record, error) {
	a, err := s.link.Do(ctx, httplink.Request{
		Op: op, Method: http.MethodPost, Target: path, Write: write, Limit: httpapi.MaxDocument,
		Body: httpapi.Marshal(document), Type: "application/json",
	})
	if err != nil {
		return nil, err
	}
	switch a.Status {
	case http.StatusOK:
		if err := httpapi.Decode(a.Body, into); err != nil {
			return nil, s.unreadable(op, write, err)
		}
		return nil, nil
	case http.StatusConflict:
		var r httpapi.Refusal
		if err := httpapi.Decode(a.Body, &r); err != nil {
			return nil, s.unreadable(op, write, err)
		}
		record, err := r.Record.Store()
		if err != nil {
			return nil, s.unreadable(op, write, err)
		}
		return record, nil
	}
	return nil, s.unexpected(op, a, write)
}

// unreadable is an answer that makes no sense.
func (s *ours) unreadable(op string, write bool, err error) error {
	out := error(store.Refused(op, s.link.URL(), "its answer cannot be read", err))
	if write {
		out = store.Unknown(out)
	}
	return out
}

// unexpected turns a status into an error. What our server refuses was not carried out; a gateway in between knows less.
func (s *ours) unexpected(op string, a *httplink.Answer, write bool) error {
	var r httpapi.Refusal
	ours := httpapi.Decode(a.Body, &r) == nil && r.Detail != ""
	why := r.Detail
	if !ours {
		why = a.Excerpt()
	}
	said := errors.New(a.Excerpt())
	switch {
	case a.Status == http.StatusUnauthorized:
		return store.Refused(op, s.link.URL(), "it wants a token, and none or another was sent", nil).
			WithHint("give the server's token: http://:TOKEN@host:port/metadata")
	case ours && a.Status == http.StatusServiceUnavailable:
		return store.Unavailable(op, s.link.URL(), errors.New(why))
	case ours && a.Status == http.StatusBadRequest:
		return errcode.New(errcode.InvalidArgument, op, "the metadata store "+s.link.URL()+" says: "+why)
	case ours && a.Status != http.StatusInternalServerError:
		return store.Refused(op, s.link.URL(), why, nil)
	case a.Status >= 500:
		err := error(store.Unavailable(op, s.link.URL(), said))
		if write {
			err = store.Unknown(err)
		}
		return err
	}
	return store.Refused(op, s.link.URL(), "something else than at first answers there", said).
		WithHint("start a new engine if the server was replaced by one of another kind")
}

func (s *ours) place(name string) url.Values {
	v := url.Values{"cluster": {s.cluster}}
	if name != "" {
		v.Set("name", name)
	}
	return v
}

// Acquire takes a name that nobody owns, or takes it over.
func (s *ours) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	const op = "acquire"
	q := httpapi.Acquire{Cluster: s.cluster, Name: r.Name, Instance: r.Instance.String(), TTLMillis: r.TTL.Milliseconds()}
	if t := r.Takeover; t != nil && t.Owner.Owned() {
		q.Takeover = &httpapi.Seen{StoreID: t.StoreID, Owner: httpapi.FromOwner(t.Owner), HeadRevision: t.HeadRevision}
	}
	var a httpapi.Acquired
	held, err := s.post(ctx, op, httpapi.AcquirePath, true, q, &a)
	switch {
	case err != nil:
		return store.Ownership{}, err
	case held != nil:
		return store.Ownership{}, &store.OwnedError{Record: *held}
	}
	owner, err := a.Owner.Store()
	if err == nil && owner.Instance != r.Instance {
		err = errors.New("it names another instance")
	}
	if err != nil {
		return store.Ownership{}, s.unreadable(op, true, err)
	}
	return store.Ownership{Name: r.Name, Instance: r.Instance, StoreID: owner.StoreID, Epoch: owner.Epoch}, nil
}

func (s *ours) owner(o store.Ownership) httpapi.Owner {
	return httpapi.Owner{Instance: o.Instance.String(), StoreID: o.StoreID, Epoch: o.Epoch}
}

// Publish replaces the head.
func (s *ours) Publish(ctx context.Context, o store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	q := httpapi.Publish{Cluster: s.cluster, Name: o.Name, Owner: s.owner(o), Last: r.Last, Head: r.Head}
	for _, k := range r.Stock {
		q.Stock = append(q.Stock, httpapi.StockKey{Key: k.Key, Value: k.Value})
	}
	var a httpapi.Published
	lost, err := s.post(ctx, "publish", httpapi.PublishPath, true, q, &a)
	if err == nil && lost == nil && a.Revision == 0 {
		err = s.unreadable("publish", true, errors.New("the revision is missing"))
	}
	if err != nil {
		return store.PublishResult{}, err
	}
	return store.PublishResult{Revision: a.Revision, Lost: lost}, nil
}

// Renew extends the lease and reads who owns the name.
func (s *ours) Renew(ctx context.Context, o store.Ownership) (store.Record, error) {
	return s.holder(ctx, "renew", httpapi.RenewPath, false, o)
}

// Release gives the name back.
func (s *ours) Release(ctx context.Context, o store.Ownership) error {
	_, err := s.holder(ctx, "release", httpapi.ReleasePath, true, o)
	return err
}

func (s *ours) holder(ctx context.Context, op, path string, write bool, o store.Ownership) (store.Record, error) {
	if err := store.CheckName(op, o.Name); err != nil {
		return store.Record{}, err
	}
	var a httpapi.Record
	_, err := s.post(ctx, op, path, write, httpapi.Holder{Cluster: s.cluster, Name: o.Name, Owner: s.owner(o)}, &a)
	if err != nil {
		return store.Record{}, err
	}
	return s.read(op, write, o.Name, &a)
}

func (s *ours) read(op string, write bool, name string, a *httpapi.Record) (store.Record, error) {
	r, err := a.Store()
	if err == nil && r.Name != name {
		err = errors.New("it is about another name")
	}
	if err != nil {
		return store.Record{}, s.unreadable(op, write, err)
	}
	return *r, nil
}

// Get reads a name.
func (s *ours) Get(ctx context.Context, name string) (store.Record, error) {
	const op = "get"
	a, err := s.link.Do(ctx, httplink.Request{
		Op: op, Method: http.MethodGet, Target: httpapi.RecordPath + "?" + s.place(name).Encode(), Limit: httpapi.MaxDocument,
	})
	if err != nil {
		return store.Record{}, err
	}
	if a.Status != http.StatusOK {
		return store.Record{}, s.unexpected(op, a, false)
	}
	var r httpapi.Record
	if err := httpapi.Decode(a.Body, &r); err != nil {
		return store.Record{}, s.unreadable(op, false, err)
	}
	return s.read(op, false, name, &r)
}

// Remake replaces the store ID.
func (s *ours) Remake(ctx context.Context, seen string) (string, error) {
	var a httpapi.Remade
	if _, err := s.post(ctx, "remake", httpapi.RemakePath, true, httpapi.Remake{Cluster: s.cluster, Seen: strings.ToLower(seen)}, &a); err != nil {
		return "", err
	}
	return a.StoreID, nil
}

// Close is the Store's.
func (s *ours) Close() error { return nil }
