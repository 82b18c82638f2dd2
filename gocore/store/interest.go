package store

import "context"

// Detector is implemented by stores that find out at the first contact what answers (an HTTP server of ours or a stock
// one). Until Detect, or any other call, has succeeded, Info says what the better one keeps.
type Detector interface {
	Detect(ctx context.Context) error
}

// Interested is implemented by stores that cannot list names (Caps.NameEnumerable is false): their Watch asks names, at
// each poll, for those that its user wants to hear of. Call it before Watch; names may be called from any goroutine and
// must not block. Without it such a Watch lists nothing.
type Interested interface {
	Interest(names func() []string)
}
