package control

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
)

// eventOverhead is what a queued event costs beside its encoded bytes, roughly.
const eventOverhead = 128

// outbox is the queue between Send, which never blocks, and the one writer. It keeps order and a cap in bytes.
type outbox struct {
	mu       sync.Mutex
	wake     chan struct{} // capacity 1
	events   []queued
	bytes    int
	limit    int
	beats    int // queued heartbeats
	finished bool
}

type queued struct {
	ev   *controlpb.Event
	size int
	beat bool
}

func newOutbox(limit int) *outbox { return &outbox{limit: limit, wake: make(chan struct{}, 1)} }

// put appends an event. Over the limit it takes nothing and returns RESOURCE_EXHAUSTED.
func (o *outbox) put(ev *controlpb.Event) error {
	size := proto.Size(ev) + eventOverhead
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished {
		return errcode.New(errcode.Closed, "send", "the session has ended")
	}
	if o.bytes+size > o.limit {
		return errcode.New(errcode.ResourceExhausted, "send",
			fmt.Sprintf("%d bytes wait to be sent, and the peer takes none; the limit is %d", o.bytes, o.limit))
	}
	o.append(queued{ev: ev, size: size})
	return nil
}

// beat appends a heartbeat unless one waits already: a writer that is stuck needs no second one.
func (o *outbox) beat(ev *controlpb.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished || o.beats > 0 {
		return
	}
	o.beats++
	o.append(queued{ev: ev, beat: true})
}

func (o *outbox) append(q queued) {
	o.events = append(o.events, q)
	o.bytes += q.size
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// finish lets nothing more in. With a farewell what waits is kept and the farewell comes last; without, it is dropped.
func (o *outbox) finish(farewell *controlpb.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished {
		return
	}
	o.finished = true
	if farewell == nil {
		o.events, o.bytes = nil, 0
	} else {
		o.events = append(o.events, queued{ev: farewell})
	}
	o.signal()
}

// take returns the next event, waiting for one; ok is false when the queue is finished and empty, or stop is closed.
func (o *outbox) take(stop <-chan struct{}) (ev *controlpb.Event, ok bool) {
	for {
		o.mu.Lock()
		if len(o.events) > 0 {
			q := o.events[0]
			o.events[0] = queued{}
			o.events = o.events[1:]
			o.bytes -= q.size
			if q.beat {
				o.beats--
			}
			o.mu.Unlock()
			return q.ev, true
		}
		finished := o.finished
		o.mu.Unlock()
		if finished {
			return nil, false
		}
		select {
		case <-o.wake:
		case <-stop:
			return nil, false
		}
	}
}
