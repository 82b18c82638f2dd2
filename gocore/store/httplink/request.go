package httplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// Request is one request.
type Request struct {
	Op     string // for errors: "publish head"
	Method string
	Target string // path and query, behind the URL
	Body   []byte // of a write, with its Type
	Type   string
	Header http.Header
	Limit  int64 // of the answer's body, in bytes
	// Write: after an error that leaves open whether the server carried it out, the error is store.Unknown.
	Write bool
}

// Answer is what the server said, whatever it was.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request and reads the whole answer. Errors: METADATA_UNAVAILABLE when no answer came, METADATA_REFUSED when
// certificates do not fit or no HTTP is spoken there.
func (l *Link) Do(ctx context.Context, r Request) (*Answer, error) {
	if r.Write && l.shaky.Load() {
		// A server that was gone a moment ago is asked first whether it is back: a write into a connection that leads
		// nowhere would leave open whether it landed.
		probe := Request{Op: r.Op, Method: http.MethodGet, Target: "?key=mooncake_te%2Fprobe", Limit: r.Limit}
		if _, err := l.Do(ctx, probe); err != nil {
			return nil, err
		}
	}
	a, err := l.do(ctx, r)
	l.shaky.Store(err != nil)
	return a, err
}

func (l *Link) do(ctx context.Context, r Request) (*Answer, error) {
	response, sent, err := l.send(ctx, r)
	if err != nil {
		return nil, l.outcome(r, sent, l.typed(ctx, r.Op, err))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, r.Limit+1))
	if err == nil && int64(len(body)) > r.Limit {
		return nil, l.outcome(r, true, store.Refused(r.Op, l.base, fmt.Sprintf("its answer is longer than %d bytes", r.Limit), nil))
	}
	if err != nil {
		return nil, l.outcome(r, true, l.typed(ctx, r.Op, err))
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// Open sends a request whose answer is read as it comes; the caller closes its body.
func (l *Link) Open(ctx context.Context, r Request) (*http.Response, error) {
	response, _, err := l.send(ctx, r)
	if err != nil {
		return nil, l.typed(ctx, r.Op, err)
	}
	return response, nil
}

func (l *Link) send(ctx context.Context, r Request) (response *http.Response, sent bool, err error) {
	// On the wire is what counts from the first header on: whatever the client holds in a buffer may still go out.
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:          func(string) { wrote.Store(false) }, // the client tries again only what was not sent
		WroteHeaderField: func(string, []string) { wrote.Store(true) },
	})
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, l.base+r.Target, body)
	if err != nil {
		return nil, false, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if r.Type != "" {
		request.Header.Set("Content-Type", r.Type)
	}
	request.Header.Set("User-Agent", "mooncake_te")
	if l.token != "" {
		request.Header.Set("Authorization", "Bearer "+l.token)
	}
	response, err = l.client.Do(request)
	return response, wrote.Load(), err
}

func (l *Link) outcome(r Request, sent bool, err error) error {
	if r.Write && sent {
		return store.Unknown(err)
	}
	return err
}

// typed turns what a client met into the errors of a store.
func (l *Link) typed(ctx context.Context, op string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		record    tls.RecordHeaderError
	)
	text := err.Error()
	switch {
	case ctx.Err() != nil:
		return store.Unavailable(op, l.base, ctx.Err())
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verify):
		return refused(op, l.base, "its certificate is not accepted here", err, "check metadata_tls_ca, the server's certificate and the host in the URL")
	case errors.As(err, &alert), strings.Contains(text, "remote error: tls:"):
		return refused(op, l.base, "it does not accept this side's certificate", err, "check metadata_tls_cert and metadata_tls_key")
	case errors.As(err, &record), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return refused(op, l.base, "no TLS is spoken there", err, "write http:// or another port")
	case strings.Contains(text, "malformed HTTP"), strings.Contains(text, "readLoopPeekFailLocked: %!w(<nil>)"): // it speaks first
		return refused(op, l.base, "no HTTP is spoken there", err, "check host and port of the URL")
	}
	return store.Unavailable(op, l.base, err)
}

func refused(op, url, why string, err error, hint string) *errcode.Error {
	return store.Refused(op, url, why, err).WithHint(hint)
}

// Excerpt says in a line what answered.
func (a *Answer) Excerpt() string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(a.Body[:min(len(a.Body), 160)]), "?")), " ")
	who := a.Header.Get("Server")
	if who != "" {
		who = ", Server: " + who
	}
	return fmt.Sprintf("status %d%s, %.160q", a.Status, who, text)
}
