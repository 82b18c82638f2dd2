package mem

import (
	"sync"
	"time"

	"mooncake_te/gocore/store"
)

// Options set a server up. The zero value is what mem://NAME gets.
type Options struct {
	Name     string
	Manual   bool          // time stands still but for Advance
	Progress time.Duration // between two Progress events of a quiet watch; 0: a second
}

// Server holds one store for all who open it.
type Server struct {
	options Options
	link    *Link // what lies between the server and everybody

	mu       sync.Mutex
	state    *state
	watchers map[*watcher]struct{}
	clock    time.Duration // Manual: now
	started  time.Time
	timer    *time.Timer // for the lease that ends first; nil: none, or Manual
}

// NewServer makes an empty one.
func NewServer(o Options) *Server {
	if o.Progress == 0 {
		o.Progress = time.Second
	}
	return &Server{options: o, link: newLink(), state: newState(), watchers: map[*watcher]struct{}{}, started: time.Now()}
}

// Open gives a client of its own, whose link can be cut alone.
func (s *Server) Open(keys store.Keys) *Store {
	return &Store{server: s, keys: keys, cluster: keys.Ours(), link: newLink(), closed: make(chan struct{})}
}

// Advance moves a Manual clock and ends the leases whose time has come.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock += d
	s.expire()
}

func (s *Server) now() time.Duration {
	if s.options.Manual {
		return s.clock
	}
	return time.Since(s.started)
}

// expire ends every lease whose time has come and sets the timer for the next.
func (s *Server) expire() {
	now := s.now()
	next := time.Duration(-1)
	for id, l := range s.state.leases {
		if l.ends > now {
			if next < 0 || l.ends < next {
				next = l.ends
			}
			continue
		}
		if cluster, name, changed := s.state.endLease(id); changed {
			s.tell(cluster, name)
		}
	}
	if s.options.Manual {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if next >= 0 {
		s.timer = time.AfterFunc(next-now, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.expire()
		})
	}
}

// tell hands the present record of a name to all who watch its cluster.
func (s *Server) tell(cluster, name string) {
	r := s.state.record(s.state.space(cluster), name)
	r.Stock = nil
	for w := range s.watchers {
		if w.cluster == cluster {
			w.push(store.Event{Changed: &r})
		}
	}
}

// breakWatches ends the watches of one cluster, or of all.
func (s *Server) breakWatches(cluster string, why error) {
	for w := range s.watchers {
		if cluster == "" || w.cluster == cluster {
			w.end(why)
		}
	}
}
