package metaserver

import (
	"fmt"
	"net/http"
)

// refusal is a request that was not carried out, and why.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func badRequest(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// full says which bound of the server was reached.
func full(format string, args ...any) error {
	return &refusal{http.StatusInsufficientStorage, "the metadata server is full: it holds at most " + fmt.Sprintf(format, args...)}
}
