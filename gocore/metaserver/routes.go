package metaserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"mooncake_te/gocore/store/httpapi"
)

// Paths beside the store's.
const (
	metricsPath = "/metrics"
	healthPath  = "/healthz"
)

// operation answers one kind of request.
type operation func(w http.ResponseWriter, r *http.Request)

// handler is everything that the server answers. Each operation is counted under its name.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	add := func(pattern, name string, do operation) { mux.Handle(pattern, s.metrics.count(name, do)) }
	base := s.options.Path
	add(base, "stock", s.stock)
	add("GET "+base+httpapi.InfoPath, "info", s.info)
	add("GET "+base+httpapi.RecordPath, "record", s.record)
	add("GET "+base+httpapi.RecordsPath, "records", s.records)
	add("GET "+base+httpapi.WatchPath, "watch", s.watch)
	add("POST "+base+httpapi.AcquirePath, "acquire", s.acquire)
	add("POST "+base+httpapi.PublishPath, "publish", s.publish)
	add("POST "+base+httpapi.RenewPath, "renew", s.renew)
	add("POST "+base+httpapi.ReleasePath, "release", s.release)
	add("POST "+base+httpapi.RemakePath, "remake", s.remake)
	add("GET "+metricsPath, "metrics", s.metrics.handler().ServeHTTP)

	// A page in somebody's browser must not write to a server on their machine.
	inside := s.authorized(http.NewCrossOriginProtection().Handler(mux))
	outside := http.NewServeMux()
	outside.Handle("/", inside)
	outside.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	return outside
}

// authorized lets a request pass that carries the token. Digests are compared, so that time says nothing of it.
func (s *Server) authorized(next http.Handler) http.Handler {
	if s.token == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		have := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.metrics.requests.WithLabelValues("unauthorized", "401").Inc()
			answer(w, http.StatusUnauthorized, httpapi.Refusal{Detail: "this server wants a token, and the request carries none or another"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(httpapi.Marshal(document), '\n'))
}
