package metaserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/netaddr"
)

// Server is one metadata server, running from Start to Close.
type Server struct {
	options  Options
	token    string
	log      *slog.Logger
	table    *table
	metrics  *metrics
	listener *listener
	http     *http.Server
	secure   *tls.Config // nil: plain HTTP
	stop     chan struct{}
	large    chan struct{} // one place for each large body under way
	ended    sync.WaitGroup
	once     sync.Once
}

// maxLarge bounds how many bodies above httpapi.MaxSmall are read at once: memory is theirs before it is counted.
const maxLarge = 8

// Start listens and serves. Errors: INVALID_ARGUMENT for options, for files, and for a port in use.
func Start(o Options) (*Server, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	secure, err := o.tls()
	if err != nil {
		return nil, err
	}
	address, err := netaddr.Parse(o.Listen)
	if err != nil {
		return nil, err
	}
	inner, err := netaddr.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o, token: token, secure: secure, log: o.Log, table: newTable(o.now, o.limits), stop: make(chan struct{}),
		large: make(chan struct{}, maxLarge), listener: &listener{Listener: forkfd.Listener(inner), limit: int64(o.MaxConnections)},
	}
	s.metrics = newMetrics(s)
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: o.times.header,
		ReadTimeout:       o.times.body,
		WriteTimeout:      o.times.body + o.times.write,
		IdleTimeout:       o.times.idle,
		MaxHeaderBytes:    16 << 10,
		TLSConfig:         secure,
		ErrorLog:          log.New(lineLog{s.log}, "", 0),
	}
	s.ended.Go(func() { s.table.endLeases(s.stop) })
	s.ended.Go(s.serve)
	s.log.Info("metadata server started", "url", s.URL(), "token", token != "", "max_bytes", o.MaxBytes)
	return s, nil
}

func (s *Server) serve() {
	var l net.Listener = s.listener
	if s.secure != nil {
		l = tls.NewListener(l, s.secure)
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("metadata server: no connection is taken any more", "error", err)
	}
}

// Address is where it listens, host:port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// URL is what to give to engines. A server on every interface is named by its host's name.
func (s *Server) URL() string {
	scheme := "http"
	if s.secure != nil {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(s.Address())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	} else if a, err := netaddr.Parse(s.options.Listen); err == nil && a.IsName() {
		host = a.Host // a certificate may be for the name
	}
	return scheme + "://" + net.JoinHostPort(host, port) + s.options.Path
}

// Close ends watches, waits a moment for what is under way, cuts the rest and frees the port. What the server held is
// gone.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.stop)
		ctx, cancel := context.WithTimeout(context.Background(), s.options.times.close)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			_ = s.http.Close()
		}
		s.ended.Wait()
		s.log.Info("metadata server stopped", "url", s.URL())
	})
	return nil
}

// lineLog turns what net/http has to say into our log: about single connections, so for whoever looks for a fault.
type lineLog struct{ log *slog.Logger }

func (l lineLog) Write(p []byte) (int, error) {
	l.log.Debug("metadata server", "says", string(bytes.TrimSpace(p)))
	return len(p), nil
}

// refuse answers that a request was not carried out.
func (s *Server) status(err error) (int, string) {
	var r *refusal
	var tooLarge *http.MaxBytesError
	var typed *errcode.Error
	switch {
	case errors.As(err, &r):
		return r.status, r.detail
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)
	case errors.As(err, &typed) && typed.Code == errcode.InvalidArgument:
		return http.StatusBadRequest, typed.Detail
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "the body did not come within " + s.options.times.body.String()
	}
	return http.StatusBadRequest, err.Error()
}

func seconds(d time.Duration) string { return strconv.Itoa(int(max(d/time.Second, 1))) }
