package engine

import (
	"log/slog"
	"os"
	"sync"

	"mooncake_te/gocore/mem"
)

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
	"off": slog.LevelError + 100,
}

// newLogger writes to standard error, one line per event.
func newLogger(level string) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: levels[level]})).With("lib", "mooncake_te")
}

var warnedFaultHandler sync.Once

// warnFaultHandler says once per process that faults in user memory cannot be contained any more, and why.
func (e *Engine) warnFaultHandler() {
	if ok, detail := mem.FaultHandlerIntact(); !ok {
		warnedFaultHandler.Do(func() {
			e.log.Warn("memory faults cannot be turned into errors: the handler of SIGSEGV was replaced after this library "+
				"was loaded; enable Python's faulthandler before the first Engine", "detail", detail)
		})
	}
}

func faultHandlerState() string {
	ok, detail := mem.FaultHandlerIntact()
	if ok {
		return "intact"
	}
	return "replaced: " + detail
}
