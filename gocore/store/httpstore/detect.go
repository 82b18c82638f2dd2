package httpstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/stockhttp"
)

// backend is what answers at the URL, found out at the first contact.
func (s *Store) backend(ctx context.Context, op string) (store.Store, error) {
	if found := s.found.Load(); found != nil {
		return *found, nil
	}
	// Each tries for itself: a call must not wait longer than its own context for somebody else's.
	found, err := s.detect(ctx, op)
	if err != nil {
		return nil, err
	}
	s.found.CompareAndSwap(nil, &found)
	return *s.found.Load(), nil
}

// detect asks for what only our server has, then for what only stock servers say.
func (s *Store) detect(ctx context.Context, op string) (store.Store, error) {
	info, err := s.link.Do(ctx, httplink.Request{Op: op, Method: http.MethodGet, Target: httpapi.InfoPath, Limit: httpapi.MaxSmall})
	if err != nil {
		return nil, err
	}
	var said httpapi.Info
	switch {
	case info.Status == http.StatusOK && httpapi.Decode(info.Body, &said) == nil && said.Server == httpapi.ServerName:
		if said.Protocol != httpapi.Protocol {
			return nil, errcode.New(errcode.VersionSkew, op, fmt.Sprintf(
				"the metadata server %s speaks protocol %d, this side %d", s.link.URL(), said.Protocol, httpapi.Protocol)).
				WithHint("run the same release on both sides")
		}
		return &s.ours, nil
	case info.Status == http.StatusUnauthorized, info.Status == http.StatusForbidden, info.Status >= 500:
		return nil, s.ours.unexpected(op, info, false)
	}
	stock, err := stockhttp.Probe(ctx, op, s.link)
	if err != nil {
		return nil, err
	}
	if !stock {
		return nil, store.Refused(op, s.link.URL(), "neither mooncake-te metadata-server nor a stock metadata server answers there", errors.New(info.Excerpt())).
			WithHint("check host, port and path of the URL (the path is /metadata unless the server was told another)")
	}
	return s.stock, nil
}
