package httpstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
)

const (
	// progress is how often the server is asked to say that nothing changed, at most: with very many watchers, or with
	// little patience here, it is asked for less or more.
	progress = time.Second
	// maxListing bounds the names of one listing.
	maxListing = 1_000_000
)

var errSilent = errors.New("nothing is heard any more")

// Watch reads one stream to its end.
func (s *ours) Watch(ctx context.Context, f func(store.Event)) error {
	const op = "watch"
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(s.silence, func() { cancel(errSilent) })
	defer alarm.Stop()

	query := s.place("")
	query.Set("progress_ms", strconv.FormatInt(min(progress, s.silence/4).Milliseconds(), 10))
	response, err := s.link.Open(ctx, httplink.Request{
		Op: op, Method: http.MethodGet, Target: httpapi.WatchPath + "?" + query.Encode(),
		Header: http.Header{"Accept": {"text/event-stream"}},
	})
	if err != nil {
		return s.broken(outer, ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, httpapi.MaxSmall))
		return s.unexpected(op, &httplink.Answer{Status: response.StatusCode, Header: response.Header, Body: body}, false)
	}
	w := watch{f: f}
	events := httpapi.NewReader(response.Body)
	for {
		e, err := events.Next()
		if err == nil {
			alarm.Reset(s.silence)
			err = w.event(e)
		}
		if err != nil {
			return s.broken(outer, ctx, err)
		}
	}
}

// broken says why a watch ended.
func (s *ours) broken(outer, ctx context.Context, err error) error {
	var bad *badEvent
	switch {
	case outer.Err() != nil:
		return outer.Err()
	case errors.Is(context.Cause(ctx), errSilent):
		err = errSilent
	case errors.As(err, &bad):
		return s.unreadable("watch", false, err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return store.Unavailable("watch", s.link.URL(), err)
}

// watch turns the events of a stream into those of a store.
type watch struct {
	f       func(store.Event)
	listing *store.Listing // under way
	listed  bool
	last    uint64
}

// badEvent is one that breaks the protocol.
type badEvent struct{ error }

func (w *watch) event(e httpapi.Event) error {
	bad := func(format string, args ...any) error {
		return &badEvent{fmt.Errorf("event %.20q: %w", e.Kind, fmt.Errorf(format, args...))}
	}
	read := func(into any) error {
		if err := httpapi.Decode(e.Data, into); err != nil {
			return bad("%w", err)
		}
		return nil
	}
	switch e.Kind {
	case httpapi.EventBegin:
		var begin httpapi.Begin
		if err := read(&begin); err != nil {
			return err
		}
		if w.listing != nil || w.listed {
			return bad("a second listing")
		}
		w.listing = &store.Listing{StoreID: begin.StoreID, Revision: begin.Revision}
		w.last = begin.Revision
	case httpapi.EventRecord, httpapi.EventChange:
		var document httpapi.Record
		if err := read(&document); err != nil {
			return err
		}
		r, err := document.Store()
		switch {
		case err != nil:
			return bad("%w", err)
		case e.Kind == httpapi.EventChange && (!w.listed || r.Revision <= w.last):
			return bad("revision %d after %d, or before the listing", r.Revision, w.last)
		case e.Kind == httpapi.EventChange:
			w.last = r.Revision
			w.f(store.Event{Changed: r})
		case w.listing == nil || len(w.listing.Records) == maxListing:
			return bad("outside a listing, or more than %d", maxListing)
		default:
			r.Revision = w.listing.Revision
			w.listing.Records = append(w.listing.Records, *r)
		}
	case httpapi.EventListed:
		if w.listing == nil {
			return bad("no listing began")
		}
		listing := w.listing
		w.listing, w.listed = nil, true
		w.f(store.Event{Listing: listing})
	case httpapi.EventProgress:
		var mark httpapi.Mark
		if err := read(&mark); err != nil {
			return err
		}
		if !w.listed || mark.Revision < w.last {
			return bad("revision %d after %d, or before the listing", mark.Revision, w.last)
		}
		w.last = mark.Revision
		w.f(store.Event{Progress: &store.Progress{Revision: mark.Revision}})
	case httpapi.EventEnd:
		var end httpapi.Reason
		if err := read(&end); err != nil {
			return err
		}
		return errors.New("the server ended the watch: " + end.Reason)
	}
	return nil // a kind that newer servers have
}
