package metaserver

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
)

// Options of a server; the zero value of a field is its default. As JSON they are what te_metadata_server_start takes.
type Options struct {
	Listen    string `json:"listen"`     // host:port or host:low-high; default 127.0.0.1:8080
	Path      string `json:"path"`       // where the store is found; default /metadata
	TokenFile string `json:"token_file"` // every request must carry the token in this file; default none
	TLSCert   string `json:"tls_cert"`   // PEM files: certificate chain and key; default plain HTTP
	TLSKey    string `json:"tls_key"`
	MaxBytes  int64  `json:"max_bytes"` // of everything held; default 1 GiB
	MaxKeys   int    `json:"max_keys"`  // names, and stock keys, each; default 1,000,000
	// MaxConnections bounds connections, watchers included: those beyond are closed unread. Default 20,000.
	MaxConnections int `json:"max_connections"`

	Log *slog.Logger `json:"-"` // default: standard error

	// For tests. times are not for users: they bound what a bad client can hold up.
	now    func() time.Duration
	times  times
	limits tableLimits
}

// times bound what one client can hold up.
type times struct {
	header   time.Duration // until a request's header is complete
	body     time.Duration // until a request is complete, header included
	write    time.Duration // for an answer, or for one piece of a stream
	idle     time.Duration // between requests
	progress time.Duration // between signs of life of a watch
	close    time.Duration // for what is under way when the server ends
}

const startOp = "start metadata server"

// maxTokenFile bounds the token file, in bytes.
const maxTokenFile = 4096

// ParseOptions reads one JSON document. An unknown key is an error.
func ParseOptions(text []byte) (Options, error) {
	var o Options
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	err := d.Decode(&o)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the document")
		}
	}
	if err != nil {
		return o, errcode.New(errcode.InvalidArgument, startOp, "the options cannot be read: "+err.Error()).
			WithHint("pass one JSON object; its keys stand in docs/metadata-server.md")
	}
	return o, nil
}

var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

// fill puts defaults in and returns all problems at once.
func (o *Options) fill() error {
	def := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	def(&o.Listen, "127.0.0.1:8080")
	def(&o.Path, "/metadata")
	o.Path = "/" + strings.Trim(o.Path, "/")
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 1_000_000
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 20_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("lib", "mooncake_te")
	}
	if o.now == nil {
		start := time.Now()
		o.now = func() time.Duration { return time.Since(start) }
	}
	if o.times == (times{}) {
		o.times = times{
			header: 5 * time.Second, body: 30 * time.Second, write: 20 * time.Second, idle: 2 * time.Minute,
			progress: time.Second, close: time.Second,
		}
	}
	if o.limits == (tableLimits{}) {
		o.limits = tableLimits{bytes: o.MaxBytes, keys: o.MaxKeys, clusters: 4096, ringEvents: 1 << 15, ringBytes: 64 << 20}
	}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if _, err := netaddr.Parse(o.Listen); err != nil {
		bad("listen: %w", err)
	}
	if !pathForm.MatchString(o.Path) || path.Clean(o.Path) != o.Path || o.Path == metricsPath || o.Path == healthPath {
		bad("path %.80q: use letters, digits, '-', '_', '.' and '~' between slashes, and not %s or %s", o.Path, metricsPath, healthPath)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		bad("tls_cert and tls_key belong together: give both or none")
	}
	for _, n := range []struct {
		name  string
		value int64
	}{{"max_bytes", o.MaxBytes}, {"max_keys", int64(o.MaxKeys)}, {"max_connections", int64(o.MaxConnections)}} {
		if n.value < 1 {
			bad("%s is %d, not above 0", n.name, n.value)
		}
	}
	if len(problems) > 0 {
		return errcode.New(errcode.InvalidArgument, startOp, errors.Join(problems...).Error())
	}
	return nil
}

// token reads the token file; "" without one.
func (o *Options) token() (string, error) {
	if o.TokenFile == "" {
		return "", nil
	}
	f, err := os.Open(o.TokenFile)
	if err != nil {
		return "", errcode.New(errcode.InvalidArgument, startOp, "the token file cannot be read").Wrap(err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	token := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return "", errcode.New(errcode.InvalidArgument, startOp, "the token file cannot be read").Wrap(err)
	case len(text) > maxTokenFile, len(token) < 8, strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errcode.New(errcode.InvalidArgument, startOp, fmt.Sprintf("token file %q: it holds no token", o.TokenFile)).
			WithHint("one line of 8 to 4096 printable ASCII characters without spaces; openssl rand -hex 32 makes a good one")
	}
	return token, nil
}

// tls reads certificate and key; nil without them.
func (o *Options) tls() (*tls.Config, error) {
	if o.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, errcode.New(errcode.InvalidArgument, startOp, fmt.Sprintf("certificate %q with key %q", o.TLSCert, o.TLSKey)).Wrap(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}, nil
}
