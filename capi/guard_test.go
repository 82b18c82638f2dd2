package capi

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestPanicBecomesInternal(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)

	rc := finish(nil)
	require.EqualValues(t, errcode.OK, rc)
	func() {
		defer guard("try", &rc)
		panic("boom")
	}()
	require.EqualValues(t, errcode.Internal, rc)
	require.Contains(t, log.String(), "boom")
	require.Contains(t, log.String(), "guard_test.go", "the stack names the place")

	rc = 0
	func() {
		defer guard("dereference", &rc)
		var p *taskObject
		_ = p.engine
	}()
	require.EqualValues(t, errcode.Internal, rc)

	rc = 0
	func() { defer guard("fine", &rc) }()
	require.EqualValues(t, errcode.OK, rc)
}

func TestVerdicts(t *testing.T) {
	require.NoError(t, lookupError(live, "op", "engine"))
	require.Equal(t, errcode.Closed, errcode.Of(lookupError(closed, "op", "batch")))
	err := lookupError(foreign, "op", "engine")
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	require.Contains(t, err.Error(), "an engine")
	require.Equal(t, errcode.InvalidArgument, errcode.Of(foreignTo("op", "task")))
}

func TestMillis(t *testing.T) {
	require.Equal(t, 5*time.Millisecond, millis(5))
	require.Zero(t, millis(0))
	require.Negative(t, millis(-1))
	require.Negative(t, millis(-1<<63))
	require.Equal(t, maxDuration, millis(1<<63-1))
	require.Positive(t, time.Since(time.Now())+millis(1<<63-1), "adding a clock does not wrap")
}

func TestRuntimeSetRefuses(t *testing.T) {
	for _, c := range []struct {
		key   string
		value int64
	}{
		{"gomaxprocs", 0},
		{"gomaxprocs", maxProcs + 1},
		{"gogc", -2},
		{"gogc", maxGCPercent + 1},
		{"memory_limit", 0},
		{"GOGC", 100},
		{"", 1},
	} {
		err := runtimeSet("set", c.key, c.value)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%v", c)
		var e *errcode.Error
		require.ErrorAs(t, err, &e)
		require.NotEmpty(t, e.Hint)
	}
}

// WAIT_TIMEOUT from te_task_wait means "still under way": a task that ended never gives it.
func TestTimeoutInsideATaskIsADeadline(t *testing.T) {
	inner := errcode.New(errcode.WaitTimeout, "ping", "no answer in time").WithHint("try again")
	inner.Peer = "p"
	for _, err := range []error{inner, fmt.Errorf("outer: %w", inner)} {
		got := endedError(err)
		require.Equal(t, errcode.Deadline, errcode.Of(got))
		var e *errcode.Error
		require.ErrorAs(t, got, &e)
		require.Equal(t, []string{"ping", "no answer in time", "try again", "p"}, []string{e.Op, e.Detail, e.Hint, e.Peer})
	}
	require.Equal(t, errcode.WaitTimeout, inner.Code, "the task's own error is not changed")
	closed := errcode.New(errcode.Closed, "op", "closed")
	require.Equal(t, error(closed), endedError(closed))
	require.NoError(t, endedError(nil))
}
