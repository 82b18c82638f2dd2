package stockhttp_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/httpstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// environment is the Python environment with the stock wheel; the script makes it where it is missing.
var environment = sync.OnceValues(func() (string, error) {
	said, err := exec.Command("../../../.ci/venv", "stock").Output()
	return strings.TrimSpace(string(said)), err
})

// server is the real thing: the metadata server of the stock Mooncake wheel, in a process of its own.
type server struct {
	port    string
	process *exec.Cmd
	said    bytes.Buffer
	ended   chan struct{}
}

func start(t testing.TB) *server {
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		s := &server{port: port}
		s.run(t)
		if s.answers(t) {
			t.Cleanup(func() { s.kill() })
			return s
		}
		s.kill() // somebody else took the port in between
	}
	require.Fail(t, "the stock server does not start")
	return nil
}

func (s *server) address() string { return "127.0.0.1:" + s.port }
func (s *server) url() string     { return "http://" + s.address() + "/metadata" }

func (s *server) run(t testing.TB) {
	folder, err := environment()
	require.NoError(t, err, ".ci/venv stock")
	scripts, err := filepath.Glob(filepath.Join(folder, "lib/python3*/site-packages/mooncake/http_metadata_server.py"))
	require.NoError(t, err)
	require.Len(t, scripts, 1)
	s.said.Reset()
	s.process = exec.Command(filepath.Join(folder, "bin/python"), scripts[0], "--host", "127.0.0.1", "--port", s.port)
	s.process.Stderr = &s.said
	s.process.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	require.NoError(t, s.process.Start())
	s.ended = make(chan struct{})
	go func() { _ = s.process.Wait(); close(s.ended) }()
}

// answers waits for the server; false if it cannot have the port.
func (s *server) answers(t testing.TB) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if response, err := client.Get(s.url() + "?key=x"); err == nil {
			require.NoError(t, response.Body.Close())
			return true
		}
		select {
		case <-s.ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func (s *server) kill() {
	_ = s.process.Process.Kill()
	<-s.ended
}

func (s *server) restart(t testing.TB) {
	s.kill()
	s.run(t)
	require.True(t, s.answers(t), "it does not come back")
}

func (s *server) put(t testing.TB, key string, value []byte) {
	request, err := http.NewRequest(http.MethodPut, s.url()+"?key="+url.QueryEscape(key), bytes.NewReader(value))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// open makes a client that has found out what answers.
func open(t testing.TB, address, cluster string) *httpstore.Store {
	keys, err := store.NewKeys(cluster)
	require.NoError(t, err)
	s, err := httpstore.New(httpstore.Options{
		Options: httplink.Options{URL: fmt.Sprintf("http://%s/metadata", address)}, Keys: keys,
		Poll: 20 * time.Millisecond, Silence: time.Second,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.Equal(t, "http", s.Info().Kind)
	require.NoError(t, s.Detect(ctx))
	require.Equal(t, "stock-http", s.Info().Kind)
	return s
}
