package etcdtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mooncake_te/gocore/internal/netfault"
)

// peerLink is where the other members reach one member: a proxy, so that a member can be cut off from its peers while
// its clients reach it.
type peerLink struct {
	listens  string
	proxy    *netfault.Proxy
	isolated atomic.Bool
}

func newPeerLink(t testing.TB) *peerLink {
	l := &peerLink{listens: freePort(t)}
	l.proxy = netfault.NewProxy(t, l.listens)
	return l
}

// join makes the link that of a member, once all members are known.
func (l *peerLink) join(m *Member) {
	l.proxy.SetRefuses(func(client net.Conn) bool {
		if l.isolated.Load() {
			return true
		}
		for _, other := range m.cluster.Members {
			if other != m && other.peer.isolated.Load() && owns(other.pid(), client.RemoteAddr()) {
				return true
			}
		}
		return false
	})
}

func (l *peerLink) address() string { return l.proxy.Address() }

// Isolate cuts a member off from the others, both ways; clients still reach it.
func (m *Member) Isolate() { m.setIsolated(true) }

// Rejoin ends Isolate.
func (m *Member) Rejoin() { m.setIsolated(false) }

func (m *Member) setIsolated(v bool) {
	m.peer.isolated.Store(v)
	for _, other := range m.cluster.Members {
		other.peer.proxy.Reset() // the members connect again; those who may not are refused
	}
}

// owns reports whether a process holds the socket with this local address.
func owns(pid int, address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || pid == 0 {
		return false
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	port := fmt.Sprintf(":%04X", tcp.Port)
	inode := ""
	for line := range strings.SplitSeq(string(table), "\n") {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], port) && f[9] != "0" {
			inode = "socket:[" + f[9] + "]"
		}
	}
	if inode == "" {
		return false
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == inode {
			return true
		}
	}
	return false
}
