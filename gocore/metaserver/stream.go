package metaserver

import (
	"errors"
	"net/http"
	"os"
	"time"
)

// stream is a long answer: each piece has its own deadline, so that a client that stops reading is cut off. The first
// error stays.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	pending int // bytes since the last flush
	err     error
}

var errSlow = errors.New("the client does not read")

// flushBytes is how much is written before the deadline is set anew.
const flushBytes = 64 << 10

func newStream(w http.ResponseWriter, limit time.Duration) *stream {
	s := &stream{w: w, control: http.NewResponseController(w), limit: limit}
	s.extend()
	return s
}

func (s *stream) extend() { _ = s.control.SetWriteDeadline(time.Now().Add(s.limit)) }

func (s *stream) write(pieces ...[]byte) {
	for _, p := range pieces {
		if s.err != nil {
			return
		}
		if s.pending == 0 {
			s.extend()
		}
		n, err := s.w.Write(p)
		s.fail(err)
		if s.pending += n; s.pending > flushBytes {
			_ = s.flush()
		}
	}
}

func (s *stream) flush() error {
	if s.err == nil && s.pending > 0 {
		s.pending = 0
		s.fail(s.control.Flush())
	}
	return s.err
}

func (s *stream) fail(err error) {
	switch {
	case err == nil || s.err != nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.err = errSlow
	default:
		s.err = err
	}
}
