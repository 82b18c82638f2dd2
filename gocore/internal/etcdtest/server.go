// Package etcdtest runs real etcd servers for tests: one member or three, of the versions that we support, on free ports
// of the loopback interface, in temporary folders. They can be killed, frozen, restarted, emptied, set back to a
// snapshot, compacted and cut off from each other, and end with the test.
package etcdtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const patience = 60 * time.Second

// Debian and Current name the binaries that tests run against.
const (
	Debian  = "debian"  // Debian's package, 3.4.23 in Debian 12
	Current = "current" // built from tests/servers/etcd
)

// Options of a cluster. The zero value is one member of the current version, in the clear.
type Options struct {
	Version string
	Members int
	TLS     *TLS     // nil: none
	Flags   []string // more flags, for each member
}

// Cluster is a running etcd.
type Cluster struct {
	t       testing.TB
	options Options
	binary  string
	token   string
	root    string // root's password, once authentication is on
	Members []*Member
}

// Member is one process.
type Member struct {
	cluster *Cluster
	name    string
	client  string // host:port
	peer    *peerLink
	dir     string

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	output *bytes.Buffer
}

// Start starts a cluster and waits until it answers.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Version == "" {
		o.Version = Current
	}
	if o.Members == 0 {
		o.Members = 1
	}
	c := &Cluster{t: t, options: o, binary: binary(t, o.Version), token: fmt.Sprint(time.Now().UnixNano())}
	for i := range o.Members {
		c.Members = append(c.Members, &Member{
			cluster: c, name: fmt.Sprintf("m%d", i), dir: filepath.Join(t.TempDir(), "data"), client: freePort(t), peer: newPeerLink(t),
		})
	}
	for _, m := range c.Members {
		m.peer.join(m)
	}
	t.Cleanup(func() {
		for _, m := range c.Members {
			m.Kill()
		}
	})
	for _, m := range c.Members {
		m.start("new")
	}
	c.Ready()
	return c
}

// binary finds a version's server.
func binary(t testing.TB, version string) string {
	if version == Debian {
		path, err := exec.LookPath("etcd")
		require.NoError(t, err, "run make setup: it installs Debian's etcd-server")
		return path
	}
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "..", "..", "build", "etcd")
	require.FileExists(t, path, "run make setup: it builds tests/servers/etcd")
	return path
}

// freePort is an address that nobody listens on, below the ports that the kernel gives to connections: a server that is
// down for a moment finds its port free again.
func freePort(t testing.TB) string {
	const lowest, highest = 15_000, 32_000
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest)))
		if err == nil {
			require.NoError(t, l.Close())
			return l.Addr().String()
		}
	}
	require.Fail(t, "no free port")
	return ""
}

func (c *Cluster) scheme() string {
	if c.options.TLS != nil {
		return "https"
	}
	return "http"
}

// Endpoints are the members' client addresses.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.Members {
		out = append(out, m.client)
	}
	return out
}

// Address is the member's address for clients.
func (m *Member) Address() string { return m.client }

func (m *Member) start(state string) {
	c := m.cluster
	var peers []string
	for _, other := range c.Members {
		peers = append(peers, other.name+"=http://"+other.peer.address())
	}
	args := []string{
		"--name", m.name, "--data-dir", m.dir, "--log-level", "error", "--unsafe-no-fsync",
		"--listen-client-urls", c.scheme() + "://" + m.client, "--advertise-client-urls", c.scheme() + "://" + m.client,
		"--listen-peer-urls", "http://" + m.peer.listens, "--initial-advertise-peer-urls", "http://" + m.peer.address(),
		"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", state, "--initial-cluster-token", c.token,
		// Ten times quicker than the default, so that leases can be as short as a second.
		"--heartbeat-interval", "30", "--election-timeout", "300",
	}
	if c.options.Version == Debian {
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--unsafe-no-fsync" })
	}
	if tls := c.options.TLS; tls != nil {
		args = append(args, "--cert-file", tls.ServerCert, "--key-file", tls.ServerKey)
		if tls.ClientCA != "" {
			args = append(args, "--client-cert-auth", "--trusted-ca-file", tls.ClientCA)
		}
	}
	cmd := exec.Command(c.binary, append(args, c.options.Flags...)...)
	output := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ETCD_") }), "ETCD_UNSUPPORTED_ARCH="+runtime.GOARCH)
	// It must not outlive the tests, whatever becomes of them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := make(chan struct{})
	started := make(chan error)
	go func() {
		// The signal comes when the thread that started the process ends, so that thread waits for it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	require.NoError(c.t, <-started)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd, m.ended, m.output = cmd, ended, output
}

func (m *Member) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return 0
	}
	return m.cmd.Process.Pid
}

func (m *Member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(s)
	}
}

// Kill is kill -9.
func (m *Member) Kill() {
	m.signal(syscall.SIGKILL)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		<-m.ended
		m.cmd = nil
	}
}

// Freeze is SIGSTOP, Thaw SIGCONT.
func (m *Member) Freeze() { m.signal(syscall.SIGSTOP) }

// Thaw lets a frozen member go on.
func (m *Member) Thaw() { m.signal(syscall.SIGCONT) }

// Start starts a killed member on the data that it has.
func (m *Member) Start() { m.start("existing") }

// Restart kills all members and starts them again on their data.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.replace(func() {})
}

// Wipe restarts the cluster without any data.
func (c *Cluster) Wipe() {
	c.t.Helper()
	c.replace(func() {
		for _, m := range c.Members {
			require.NoError(c.t, os.RemoveAll(m.dir))
		}
	})
}

// Save stops the cluster for as long as its data takes to copy. Restore restarts it on that copy, as often as wanted.
func (c *Cluster) Save() (restore func()) {
	c.t.Helper()
	copies := make([]string, len(c.Members))
	c.replace(func() {
		for i, m := range c.Members {
			copies[i] = filepath.Join(c.t.TempDir(), "copy")
			require.NoError(c.t, os.CopyFS(copies[i], os.DirFS(m.dir)))
		}
	})
	return func() {
		c.t.Helper()
		c.replace(func() {
			for i, m := range c.Members {
				require.NoError(c.t, os.RemoveAll(m.dir))
				require.NoError(c.t, os.CopyFS(m.dir, os.DirFS(copies[i])))
			}
		})
	}
}

// replace does something to the data while no member runs.
func (c *Cluster) replace(do func()) {
	c.t.Helper()
	for _, m := range c.Members {
		m.Kill()
	}
	do()
	for _, m := range c.Members {
		state := "existing"
		if _, err := os.Stat(m.dir); err != nil {
			state = "new"
		}
		m.start(state)
	}
	c.Ready()
}

// Compact forgets the past and defragments, so that it is gone from the disk too.
func (c *Cluster) Compact() {
	c.t.Helper()
	client := c.Client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := client.Get(ctx, "x")
	require.NoError(c.t, err)
	_, err = client.Compact(ctx, answer.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(c.t, err)
}

// Client is a client for what tests do to the cluster beside its users; its caller closes it.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	cfg := clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop(), DialTimeout: patience}
	if c.options.TLS != nil {
		cfg.TLS = c.options.TLS.client(c.t)
	}
	if c.root != "" {
		cfg.Username, cfg.Password = "root", c.root
	}
	client, err := clientv3.New(cfg)
	require.NoError(c.t, err)
	return client
}

// Ready waits until the cluster answers a linearizable read.
func (c *Cluster) Ready() {
	c.t.Helper()
	client := c.Client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, 2*time.Second)
		_, err := client.Get(try, "ready")
		stop()
		if err == nil {
			return
		}
		if ctx.Err() != nil || c.anyEnded() {
			require.Fail(c.t, "etcd did not start", "%v\n%s", err, c.outputs())
		}
	}
}

func (c *Cluster) anyEnded() bool {
	return slices.ContainsFunc(c.Members, func(m *Member) bool {
		select {
		case <-m.ended:
			return true
		default:
			return false
		}
	})
}

// outputs is what the members wrote; reading it ends them.
func (c *Cluster) outputs() string {
	var out strings.Builder
	for _, m := range c.Members {
		m.Kill()
		fmt.Fprintf(&out, "%s:\n%s\n", m.name, m.output)
	}
	return out.String()
}
