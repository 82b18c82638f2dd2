package metaserver

import (
	"mooncake_te/gocore/store/httpapi"
)

// ring keeps the last changes of all clusters, so that watchers need no queue of their own: each has a place here, and
// one whose place was overwritten was too slow. Its events carry consecutive revisions.
type ring struct {
	events    []change // a circle
	start, n  int
	first     uint64 // revision of the oldest event; of the next one while there is none
	bytes     int
	maxBytes  int
	wake      chan struct{} // closed and replaced by every event
	evictions uint64
}

// change is one event. No frame: the cluster's store ID was remade, and its watchers start again.
type change struct {
	cluster string
	frame   []byte
}

func (r *ring) init(events, bytes int) {
	*r = ring{events: make([]change, events), first: 1, maxBytes: bytes, wake: make(chan struct{})}
}

func (r *ring) add(revision uint64, cluster string, frame []byte) {
	for r.n > 0 && (r.n == len(r.events) || r.bytes+len(frame) > r.maxBytes) {
		r.bytes -= len(r.events[r.start].frame)
		r.events[r.start] = change{}
		r.start = (r.start + 1) % len(r.events)
		r.n--
		r.first++
		r.evictions++
	}
	if r.n == 0 {
		r.first = revision
	}
	r.events[(r.start+r.n)%len(r.events)] = change{cluster, frame}
	r.n++
	r.bytes += len(frame)
	close(r.wake)
	r.wake = make(chan struct{})
}

// Reasons to end a watch.
const (
	tooSlow   = "this watcher was too slow"
	wasRemade = "the store ID was replaced"
	closing   = "the server ends"
)

// batchBytes is about how much a watcher takes at once.
const batchBytes = 256 << 10

// follow returns frames of a cluster after a revision, the revision up to which these are all, and a channel that is
// closed at the next event of any cluster. A reason, if there is one, ends the watch.
func (t *table) follow(cluster string, after uint64) (frames [][]byte, upTo uint64, wake <-chan struct{}, reason string) {
	t.lock()
	defer t.mu.Unlock()
	r := &t.ring
	if after+1 < r.first {
		return nil, after, nil, tooSlow
	}
	upTo = after
	for size := 0; upTo < t.revision && size < batchBytes; upTo++ {
		c := r.events[(r.start+int(upTo+1-r.first))%len(r.events)]
		if c.cluster != cluster {
			continue
		}
		if c.frame == nil {
			return frames, upTo, nil, wasRemade
		}
		frames = append(frames, c.frame)
		size += len(c.frame)
	}
	return frames, upTo, r.wake, ""
}

// resume reports whether a watch can go on after the event with this ID.
func (t *table) resume(cluster, eventID string) (after uint64, ok bool) {
	storeID, revision, ok := httpapi.ParseEventID(eventID)
	t.lock()
	defer t.mu.Unlock()
	return revision, ok && storeID == t.storeID(cluster) && revision <= t.revision && revision+1 >= t.ring.first
}
