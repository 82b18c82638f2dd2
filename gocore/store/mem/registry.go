package mem

import (
	"sync"

	"mooncake_te/gocore/store"
)

// registry finds the servers of mem://NAME. It is the one thing that engines of one process share without having been
// handed it: that is what the URL is for.
var registry = struct {
	mu      sync.Mutex
	servers map[string]*shared
}{servers: map[string]*shared{}}

type shared struct {
	server *Server
	open   int
}

// Open gives a store on the server of that name, which is made by the first and ends with the last to close.
func Open(name string, keys store.Keys) *Store {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	sh := registry.servers[name]
	if sh == nil {
		sh = &shared{server: NewServer(Options{Name: name})}
		registry.servers[name] = sh
	}
	sh.open++
	s := sh.server.Open(keys)
	s.onClose = func() {
		registry.mu.Lock()
		defer registry.mu.Unlock()
		if sh.open--; sh.open == 0 {
			delete(registry.servers, name)
			sh.server.stop()
		}
	}
	return s
}

// stop ends the timer of a server that nobody can reach any more.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.state = newState()
}
