package metaserver

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"mooncake_te/gocore/store/httpapi"
)

// progressPerSecond is how many signs of life all watchers together get in a second, at most: with very many, each gets
// them less often.
const progressPerSecond = 5000

// watch streams one cluster's changes: after the event that the client names by Last-Event-ID while the ring has it, else
// after a listing.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	cluster := query.Get("cluster")
	every, err := s.progressEvery(query.Get("progress_ms"))
	if err == nil {
		err = place(cluster, "-")
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	// A watch lasts for as long as both sides want; the server's own limits are for requests.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	s.metrics.watchers.Inc()
	defer s.metrics.watchers.Dec()
	out := newStream(w, s.options.times.write)
	after, ok := s.table.resume(cluster, r.Header.Get("Last-Event-ID"))
	if !ok {
		after = s.listing(out, cluster)
	}
	reason := s.changes(r, out, cluster, after, every)
	if reason != "" {
		out.write(httpapi.AppendEvent(nil, httpapi.EventEnd, "", httpapi.Marshal(httpapi.Reason{Reason: reason})))
		_ = out.flush()
	}
	switch {
	case reason == tooSlow || errors.Is(out.err, errSlow):
		s.metrics.cut.WithLabelValues("slow").Inc()
	case reason == wasRemade:
		s.metrics.cut.WithLabelValues("remade").Inc()
	}
}

func (s *Server) progressEvery(text string) (time.Duration, error) {
	if text == "" {
		return s.options.times.progress, nil
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 100 || ms > 3_600_000 {
		return 0, badRequest("progress_ms %.40q is not 100 to 3600000", text)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// listing writes all names of a cluster and returns the revision that they were read at.
func (s *Server) listing(out *stream, cluster string) uint64 {
	storeID, revision, documents := s.table.list(cluster)
	out.write(httpapi.AppendEvent(nil, httpapi.EventBegin, "", httpapi.Marshal(httpapi.Begin{StoreID: storeID, Revision: revision})))
	var frame []byte
	for _, document := range documents {
		frame = httpapi.AppendEvent(frame[:0], httpapi.EventRecord, "", document)
		out.write(frame)
	}
	out.write(httpapi.AppendEvent(nil, httpapi.EventListed, httpapi.EventID(storeID, revision), httpapi.Marshal(httpapi.Mark{Revision: revision})))
	return revision
}

// changes writes what happens after a revision until the client goes, or there is a reason to end.
func (s *Server) changes(r *http.Request, out *stream, cluster string, after uint64, every time.Duration) (reason string) {
	progress := time.NewTimer(every)
	defer progress.Stop()
	for {
		frames, upTo, wake, reason := s.table.follow(cluster, after)
		for _, frame := range frames {
			out.write(frame)
		}
		after = upTo
		if reason != "" {
			return reason
		}
		if out.flush() != nil {
			return ""
		}
		if len(frames) > 0 {
			continue // there may be more
		}
		select {
		case <-wake:
		case <-progress.C:
			out.write(httpapi.AppendEvent(nil, httpapi.EventProgress, "", httpapi.Marshal(httpapi.Mark{Revision: after})))
			progress.Reset(max(every, time.Duration(s.metrics.watching())*time.Second/progressPerSecond))
		case <-r.Context().Done():
			return ""
		case <-s.stop:
			return closing
		}
	}
}
