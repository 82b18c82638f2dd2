package metaserver

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store/httpapi"
)

// certificate writes a self-signed one for 127.0.0.1.
func certificate(t testing.TB) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	folder := t.TempDir()
	certFile, keyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

func TestPortInUse(t *testing.T) {
	r := start(t, Options{})
	_, err := Start(Options{Listen: r.Address(), Log: quiet})
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	require.ErrorContains(t, err, "port in use: "+r.Address())
	// Once it is free it can be had at once, by the next server.
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "twice is once")
	again, err := Start(Options{Listen: r.Address(), Log: quiet})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestBadOptions(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, c := range []struct {
		options string
		says    []string
	}{
		{``, []string{"cannot be read"}},
		{`{} {}`, []string{"something follows"}},
		{`{"listn": "x"}`, []string{`unknown field "listn"`}},
		{`{"max_bytes": "1"}`, []string{"max_bytes"}},
		{`{"listen": "a:b:c", "path": "/a b", "tls_cert": "x", "max_bytes": -1, "max_keys": -1}`,
			[]string{"more than one colon", "path", "belong together", "max_bytes is -1", "max_keys is -1"}},
		{`{"path": "/metrics"}`, []string{"path"}},
		{`{"path": "/a/../b"}`, []string{"path"}},
		{`{"listen": "127.0.0.1:70000"}`, []string{"70000"}},
		{`{"listen": "127.0.0.1:0", "token_file": "/nowhere/at/all"}`, []string{"token file", "no such file"}},
		{`{"listen": "127.0.0.1:0", "token_file": "` + file("short") + `"}`, []string{"it holds no token", "openssl"}},
		{`{"listen": "127.0.0.1:0", "token_file": "` + file("two words of it") + `"}`, []string{"it holds no token"}},
		{`{"listen": "127.0.0.1:0", "token_file": "` + file(strings.Repeat("t", 5000)) + `"}`, []string{"it holds no token"}},
		{`{"listen": "127.0.0.1:0", "tls_cert": "` + file("x") + `", "tls_key": "` + file("y") + `"}`, []string{"certificate"}},
	} {
		o, err := ParseOptions([]byte(c.options))
		if err == nil {
			o.Log = quiet
			_, err = Start(o)
		}
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%s: %v", c.options, err)
		for _, says := range c.says {
			require.ErrorContains(t, err, says)
		}
	}
}

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("a-good-token\n"), 0o600))
	r := start(t, Options{TokenFile: file})
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer a-good-toke", "Bearer a-good-token2", "Basic a-good-token"} {
		for _, target := range []string{httpapi.InfoPath, httpapi.WatchPath, key("k"), "/nothing"} {
			status, text := r.do(http.MethodGet, target, nil, "Authorization", header)
			require.Equal(t, http.StatusUnauthorized, status, "%q %s", header, target)
			require.NotContains(t, text, "a-good-token")
		}
	}
	for _, header := range []string{"Bearer a-good-token", "bearer  a-good-token "} {
		status, _ := r.do(http.MethodGet, httpapi.InfoPath, nil, "Authorization", header)
		require.Equal(t, http.StatusOK, status)
	}
	// Whether the server lives is no secret; what it counts is.
	base := strings.TrimSuffix(r.URL(), "/metadata")
	for path, want := range map[string]int{healthPath: http.StatusOK, metricsPath: http.StatusUnauthorized} {
		response, err := r.client.Get(base + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, path)
	}
}

// A page in a browser cannot write to a server on its user's machine.
func TestOtherOrigins(t *testing.T) {
	r := start(t, Options{})
	status, _ := r.do(http.MethodPut, key("k"), []byte("v"), "Origin", "https://example.com", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, status)
	status, _ = r.do(http.MethodGet, key("k"), nil)
	require.Equal(t, http.StatusNotFound, status)
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	r := start(t, Options{TLSCert: cert, TLSKey: key})
	require.True(t, strings.HasPrefix(r.URL(), "https://127.0.0.1:"), r.URL())
	text, err := os.ReadFile(cert)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	transport := r.client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	transport.ForceAttemptHTTP2 = true
	response, err := r.client.Get(r.URL() + httpapi.InfoPath)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 2, response.ProtoMajor)
	// A watch over HTTP/2 ends well, too.
	o := r.acquire("x", time.Minute)
	w := r.watch("", "")
	names, _ := w.listing()
	require.Equal(t, []string{"x"}, names)
	r.publish("x", o, 0, "head")
	record, _ := w.change()
	require.Equal(t, "head", string(record.Head))
	require.NoError(t, r.Close())
	require.Equal(t, closing, endReason(w))
}

// impatient ends slow clients soon, so that tests need not wait.
var impatient = times{
	header: 300 * time.Millisecond, body: 300 * time.Millisecond, write: time.Second, idle: 300 * time.Millisecond,
	progress: time.Minute, close: 100 * time.Millisecond,
}

// Whoever does not finish a request, or sends none, is cut off; the server goes on.
func TestSlowClientsAreCut(t *testing.T) {
	r := start(t, Options{times: impatient})
	for what, begins := range map[string]string{
		"nothing":                "",
		"a line without an end":  "GET /metadata?key=",
		"headers without an end": "GET /metadata?key=x HTTP/1.1\r\nHost: x\r\nX-A: ",
		"a body that stops":      "PUT /metadata?key=x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab",
		"a chunk that stops":     "PUT /metadata?key=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab",
		"a document that stops": "POST /metadata/v1/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
			"Content-Length: 20000000\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", r.Address())
		require.NoError(t, err)
		_, err = io.WriteString(conn, begins)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		answer, err := io.ReadAll(conn)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "%s: the server still waits", what)
		if strings.Contains(begins, "\r\n\r\n") {
			require.Contains(t, string(answer), "408 Request Timeout", what)
		}
		require.NoError(t, conn.Close())
	}
	status, _ := r.do("GET", key("x"), nil)
	require.Equal(t, http.StatusNotFound, status)
}

// A body that never ends is cut off at its bound, whatever it says of its length.
func TestEndlessBody(t *testing.T) {
	r := start(t, Options{})
	for _, head := range []string{
		"PUT /metadata?key=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /metadata/v1/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", r.Address())
		require.NoError(t, err)
		_, err = io.WriteString(conn, head)
		require.NoError(t, err)
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat(" ", 1<<16))
		sent := 0
		for err == nil { // until the server ends it
			var n int
			n, err = io.WriteString(conn, chunk)
			sent += n
			require.Less(t, sent, 200<<20, "the server reads for ever")
		}
		require.GreaterOrEqual(t, sent, httpapi.MaxStock)
		require.NoError(t, conn.Close())
	}
	status, text := r.do("PUT", key("x"), make([]byte, httpapi.MaxStock+1))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Contains(t, text, "16777216")
	status, _ = r.do("PUT", key("x"), make([]byte, httpapi.MaxStock))
	require.Equal(t, http.StatusOK, status)
}

// Large bodies wait for one of a few places; small ones do not wait for them.
func TestLargeBodiesAreFew(t *testing.T) {
	times := impatient
	times.header, times.body = patience, patience
	r := start(t, Options{times: times})
	var conns []net.Conn
	for range maxLarge {
		conn, err := net.Dial("tcp", r.Address())
		require.NoError(t, err)
		conns = append(conns, conn)
		_, err = io.WriteString(conn, "PUT /metadata?key=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return len(r.large) == maxLarge }, patience, time.Millisecond)
	status, _ := r.do("PUT", key("small"), []byte("v"))
	require.Equal(t, http.StatusOK, status)
	waiting := make(chan int)
	go func() {
		status, _ := r.do("PUT", key("large"), make([]byte, 1_000_000))
		waiting <- status
	}()
	require.NoError(t, conns[0].Close())
	require.Equal(t, http.StatusOK, <-waiting)
	for _, conn := range conns[1:] {
		require.NoError(t, conn.Close())
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	r := start(t, Options{MaxConnections: 3})
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", r.Address())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "200 OK")
		conns = append(conns, conn)
	}
	over, err := net.Dial("tcp", r.Address())
	require.NoError(t, err)
	_, err = over.Read(make([]byte, 1))
	require.Error(t, err, "closed unread")
	require.NoError(t, over.Close())
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool { return r.listener.open.Load() == 2 }, patience, time.Millisecond)
	require.Equal(t, "1", r.counter("connections_refused_total"))
	require.Equal(t, "3", r.counter("connections"))
}

// The server's end cuts whoever keeps a request open; nothing waits for them.
func TestCloseDoesNotWaitForSlowClients(t *testing.T) {
	times := impatient
	times.header, times.body = time.Hour, time.Hour
	r := start(t, Options{times: times})
	conn, err := net.Dial("tcp", r.Address())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "PUT /metadata?key=x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.listener.open.Load() == 1 }, patience, time.Millisecond)
	require.NoError(t, r.Close())
	_, err = io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestURL(t *testing.T) {
	r := start(t, Options{Listen: "localhost:0", Path: "some/where/"})
	require.Regexp(t, `^http://localhost:\d+/some/where$`, r.URL())
	status, _ := r.do("GET", httpapi.InfoPath, nil)
	require.Equal(t, http.StatusOK, status)
	host, err := os.Hostname()
	require.NoError(t, err)
	r = start(t, Options{Listen: "0.0.0.0:0"})
	require.Contains(t, r.URL(), "http://"+host+":")
}
