package metaserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store/httpapi"
)

// serveEnv makes this test binary a server for the test that started it: server and watchers need a file each.
const serveEnv = "MOONCAKE_TE_TEST_SERVE"

// TestServeForWatchers is the other process of TestTenThousandWatchers.
func TestServeForWatchers(t *testing.T) {
	if os.Getenv(serveEnv) == "" {
		return // not started by it
	}
	r := start(t, Options{})
	fmt.Println("listening on", r.Address())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() { // each line asks how much memory is in use
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		fmt.Println("memory", m.HeapAlloc+m.StackInuse)
	}
}

// many is how many watchers the machine lets a process have, at most so many.
func many(t testing.TB, most int) int {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return min(most, int(limit.Cur)-200)
}

// Ten thousand watchers are told of a change, cost little memory each, and leave nothing behind.
func TestTenThousandWatchers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds and ten thousand files")
	}
	server := exec.Command(os.Args[0], "-test.run=^TestServeForWatchers$", "-test.v")
	server.Env = append(os.Environ(), serveEnv+"=1")
	ask, err := server.StdinPipe()
	require.NoError(t, err)
	said, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	defer func() {
		_ = ask.Close()
		_, _ = io.Copy(io.Discard, said)
		require.NoError(t, server.Wait())
	}()
	lines := bufio.NewScanner(said)
	hear := func(prefix string) string {
		for lines.Scan() {
			if value, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return value
			}
		}
		require.Fail(t, "the server process ended")
		return ""
	}
	address := hear("listening on ")
	memory := func() int {
		_, err := io.WriteString(ask, "memory\n")
		require.NoError(t, err)
		n, err := strconv.Atoi(hear("memory "))
		require.NoError(t, err)
		return n
	}
	post := func(path, body string) string {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "POST /metadata%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(answer), "200 OK")
		return string(answer)
	}
	before := memory()

	n := many(t, 10_000)
	conns := make([]net.Conn, n)
	var listed, told, ended sync.WaitGroup
	var mu sync.Mutex
	var problems []error
	for i := range conns {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err, "watcher %d", i)
		conns[i] = conn
		_, err = fmt.Fprintf(conn, "GET /metadata%s HTTP/1.1\r\nHost: x\r\n\r\n", httpapi.WatchPath)
		require.NoError(t, err)
		listed.Add(1)
		told.Add(1)
		ended.Go(func() {
			in := bufio.NewReaderSize(conn, 512)
			err := upTo(in, "event: listed\n")
			listed.Done()
			if err == nil {
				err = upTo(in, "event: change\n")
			}
			told.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, err)
			}
		})
	}
	listed.Wait()
	each := (memory() - before) / n
	began := time.Now()
	post(httpapi.AcquirePath, `{"name":"x","instance":"00000000000000000000000000000001","ttl_ms":60000}`)
	told.Wait()
	t.Logf("%d watchers, %d bytes each in the server, all told after %v", n, each, time.Since(began))
	ended.Wait()
	require.Empty(t, problems)
	require.Less(t, each, 64<<10)
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return memory() < before+n*4<<10 }, patience, 50*time.Millisecond, "watchers that went leave nothing")
}

func upTo(in *bufio.Reader, line string) error {
	for {
		switch got, err := in.ReadString('\n'); {
		case err != nil:
			return err
		case got == line:
			return nil
		}
	}
}
