package engine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/types"
)

// Real processes: this test binary starts itself again as a helper that runs an engine and obeys commands on its
// standard input, one JSON object a line. The parent kills, stops and continues it.

const helperEnv = "MOONCAKE_TE_TEST_HELPER"

type command struct {
	Do       string
	Bytes    int
	Remote   types.Remote
	IDs      []types.BufferID
	WithinMS int64
	Address  string
	Target   types.BufferID
	Window   int
	Seed     byte
	Buffer   int
}

type answer struct {
	Err     string
	Code    errcode.Code
	ID      types.BufferID
	Address string
	Report  *DrainResult
	Loop    *loopReport
	Same    bool
}

// loopReport is what a writer that wrote until it was refused has seen. Times are CLOCK_MONOTONIC, which all processes
// of a host share.
type loopReport struct {
	Completed int
	Moved     uint64
	LastBegun int64 // submit time of the oldest batch that was under way when the first refusal came
	FirstEnd  int64
	Codes     map[string]int
	EndedAt   int64
}

func monotonic() int64 {
	var ts syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func runHelper() {
	cfg := config.Default()
	cfg.Listen, cfg.DataListen = os.Getenv(helperEnv), os.Getenv(helperEnv+"_DATA")
	cfg.HeartbeatMS = 200
	cfg.LogLevel = "off"
	e, err := New(cfg)
	reply := json.NewEncoder(os.Stdout)
	if err != nil {
		_ = reply.Encode(answer{Err: err.Error(), Code: errcode.Of(err)})
		os.Exit(1)
	}
	h := &helper{e: e}
	_ = reply.Encode(answer{Address: e.Info().Addresses[0] + " " + e.Info().DataAddresses[0]})
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var c command
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			break
		}
		a := h.obey(c)
		_ = reply.Encode(a)
	}
	e.Destroy()
	os.Exit(0)
}

type helper struct {
	e       *Engine
	buffers [][]byte
	segment types.SegmentID
	loop    chan *loopReport
}

func (h *helper) obey(c command) (a answer) {
	fail := func(err error) answer { return answer{Err: err.Error(), Code: errcode.Of(err)} }
	switch c.Do {
	case "register":
		addr, err := h.e.Allocate(uint64(c.Bytes))
		if err != nil {
			return fail(err)
		}
		b := mem.Bytes(addr, c.Bytes)
		pattern(b, c.Seed)
		h.buffers = append(h.buffers, b)
		ids, err := h.e.Register([]Registration{{Address: addr, Length: uint64(c.Bytes), Remote: c.Remote, Perm: types.PermReadWrite, Writable: true}})
		if err != nil {
			return fail(err)
		}
		return answer{ID: ids[0]}
	case "drain":
		t, err := h.e.Drain(c.IDs, time.Duration(c.WithinMS)*time.Millisecond)
		if err != nil {
			return fail(err)
		}
		<-t.Done()
		if err := t.Err(); err != nil {
			return fail(err)
		}
		return answer{Report: t.result.(*DrainResult)}
	case "fill":
		pattern(h.buffers[c.Buffer], c.Seed)
		return answer{}
	case "check":
		return answer{Same: string(h.buffers[c.Buffer]) == string(patterned(len(h.buffers[c.Buffer]), c.Seed))}
	case "open":
		t, err := h.e.Open(c.Address, patience)
		if err == nil {
			<-t.Done()
			err = t.Err()
		}
		if err != nil {
			return fail(err)
		}
		h.segment = t.result.(*OpenResult).Segment
		return answer{}
	case "refresh":
		t, err := h.e.Refresh(h.segment, patience)
		if err == nil {
			<-t.Done()
			err = t.Err()
		}
		if err != nil {
			return fail(err)
		}
		return answer{}
	case "write-until-refused": // starts; "loop-report" collects
		h.loop = make(chan *loopReport, 1)
		started := make(chan struct{})
		go func() { h.loop <- h.writeUntilRefused(c, started) }()
		<-started
		return answer{}
	case "loop-report":
		return answer{Loop: <-h.loop}
	}
	return answer{Err: "unknown command " + c.Do}
}

// writeUntilRefused keeps a window of batches under way from local buffer IDs[0] into Target.
func (h *helper) writeUntilRefused(c command, started chan struct{}) *loopReport {
	r := &loopReport{Codes: map[string]int{}}
	type flight struct {
		b     Batch
		begun int64
	}
	var window []flight
	n := uint64(c.Bytes)
	var once sync.Once
	refused := false
	for {
		for !refused && len(window) < c.Window {
			begun := monotonic()
			b, err := h.e.Submit(one(types.Write, h.segment, c.IDs[0], c.Target, 0, 0, n))
			if err != nil {
				refused = true
				r.Codes[errcode.Of(err).String()]++
				break
			}
			window = append(window, flight{b, begun})
		}
		if len(window) == 0 {
			break
		}
		f := window[0]
		window = window[1:]
		<-f.b.Done()
		if err := f.b.Err(); err != nil {
			if !refused || r.FirstEnd == 0 {
				r.LastBegun, r.FirstEnd = f.begun, monotonic()
			}
			refused = true
			r.Codes[errcode.Of(err).String()]++
		} else {
			r.Completed++
			r.LastBegun, r.FirstEnd = f.begun, monotonic()
		}
		r.Moved += bytesDone(f.b)
		_ = f.b.Free()
		if r.Moved > 2*n {
			once.Do(func() { close(started) })
		}
	}
	once.Do(func() { close(started) })
	r.EndedAt = monotonic()
	return r
}

// process is a helper seen from the parent.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	address string
	data    string
}

func startProcess(t *testing.T, listen, data string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), helperEnv+"="+listen, helperEnv+"_DATA="+data)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<20)
	t.Cleanup(p.kill)
	a := p.read()
	require.Empty(t, a.Err)
	p.address, p.data, _ = strings.Cut(a.Address, " ")
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

func (p *process) signal(s syscall.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }

// stop sends SIGSTOP and waits until the kernel says that the process is stopped.
func (p *process) stop() {
	p.signal(syscall.SIGSTOP)
	require.Eventually(p.t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
		return err == nil && strings.Contains(string(stat), ") T ")
	}, patience, time.Millisecond)
}

func (p *process) read() (a answer) {
	p.t.Helper()
	require.True(p.t, p.out.Scan(), "the helper ended: %v", p.out.Err())
	require.NoError(p.t, json.Unmarshal(p.out.Bytes(), &a))
	return a
}

func (p *process) send(c command) {
	p.t.Helper()
	line, err := json.Marshal(c)
	require.NoError(p.t, err)
	_, err = fmt.Fprintf(p.in, "%s\n", line)
	require.NoError(p.t, err)
}

func (p *process) do(c command) answer {
	p.t.Helper()
	p.send(c)
	a := p.read()
	require.Empty(p.t, a.Err, "%+v", c)
	return a
}
