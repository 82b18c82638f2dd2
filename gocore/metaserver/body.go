package metaserver

import (
	"io"
	"mime"
	"net/http"
	"time"

	"mooncake_te/gocore/store/httpapi"
)

// body reads a request's body. Small ones are bounded by the number of connections; large ones, and those of unknown
// length, wait for one of a few places.
func (s *Server) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	if r.ContentLength < 0 || r.ContentLength > httpapi.MaxSmall {
		patience := time.NewTimer(s.options.times.body)
		defer patience.Stop()
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-patience.C:
			w.Header().Set("Retry-After", seconds(s.options.times.body))
			return nil, &refusal{http.StatusServiceUnavailable, "too many large requests at once"}
		}
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// document reads a request's JSON document.
func (s *Server) document(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{http.StatusUnsupportedMediaType, "the body must be application/json"}
	}
	text, err := s.body(w, r, limit)
	if err != nil {
		return err
	}
	if err := httpapi.Decode(text, into); err != nil {
		return badRequest("the body cannot be read: %v", err)
	}
	return nil
}
