package mem

import (
	"errors"

	"mooncake_te/gocore/store"
)

var errKilled = errors.New("connection reset by peer")

// Link is what lies between the server and all its clients.
func (s *Server) Link() *Link { return s.link }

// Kill ends every connection; until Start nobody gets an answer. What the server holds stays, and the leases get their
// full time again at Start, as with a server that keeps its data on disk.
func (s *Server) Kill() {
	s.link.Cut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breakWatches("", errKilled)
}

// Start ends what Kill began.
func (s *Server) Start() {
	s.mu.Lock()
	for _, l := range s.state.leases {
		l.ends = s.now() + l.ttl
	}
	s.expire()
	s.mu.Unlock()
	s.link.Heal()
}

// Wipe loses everything: store IDs and revisions too.
func (s *Server) Wipe() { s.replace(newState()) }

// Save copies what the server holds; the function returned brings it back, at any later time and as often as wanted.
func (s *Server) Save() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := s.state.clone()
	return func() { s.replace(saved.clone()) }
}

func (s *Server) replace(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	for _, l := range st.leases {
		l.ends = s.now() + l.ttl
	}
	s.expire()
	s.breakWatches("", errKilled)
}

// Compact forgets the past: whoever watches lists again.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breakWatches("", errCompact)
}

// PutStock writes a stock key as a stock engine does: nobody's, on no lease.
func (s *Server) PutStock(keys store.Keys, key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.revision++
	s.state.space(keys.Ours()).stock[key] = stockValue{value: append([]byte{}, value...)}
}

// Revision is the server's present one.
func (s *Server) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.revision
}

// Sizes count what the server holds of all clusters: owned names, leases, stock keys.
func (s *Server) Sizes() (names, leases, stock int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.state.spaces {
		names += len(sp.names)
		stock += len(sp.stock)
	}
	return names, len(s.state.leases), stock
}
