package lint

import (
	"fmt"
	"go/ast"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const maxLines = 600

// A rule looks at one file and says what is wrong with it.
type rule struct {
	name  string
	check func(source) []string
}

var rules = []rule{
	{"C only in the layers that are made for it", usesC},
	{"signals belong to the host program", usesSignals},
	{"testing libraries stay in tests", usesTestLibraries},
	{"files stay readable", tooLong},
	{"the pure core is pure", impure},
}

func usesC(file source) []string {
	allowed := []string{"verbs", "capi", "gocore/mem", "gocore/gpu"}
	if !slices.Contains(file.imports, "C") {
		return nil
	}
	for _, folder := range allowed {
		if file.pkg == folder || strings.HasPrefix(file.pkg, folder+"/") {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: import \"C\" is allowed in %v only", file.name, allowed)}
}

func usesSignals(file source) []string {
	if file.test || !slices.Contains(file.imports, "os/signal") {
		return nil
	}
	return []string{file.name + ": a library must not touch its host's signal handlers"}
}

func usesTestLibraries(file source) []string {
	// Suites and simulators are test code that lies in ordinary files because several packages' tests may call it.
	if file.test || slices.Contains(testOnly, file.pkg) {
		return nil
	}
	var found []string
	for _, imported := range file.imports {
		for _, library := range []string{"testing", "github.com/stretchr/testify", "go.uber.org/goleak", "pgregory.net/rapid"} {
			if imported == library || strings.HasPrefix(imported, library+"/") {
				found = append(found, fmt.Sprintf("%s imports %s outside a test", file.name, imported))
			}
		}
	}
	return found
}

func tooLong(file source) []string {
	if file.generated || file.lines <= maxLines {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d lines; split it by concern before %d", file.name, file.lines, maxLines)}
}

// impure holds gocore/coherence to events in, actions out: no clock (it is handed a types.Time), no I/O, no goroutine,
// nothing to wait on. That is what lets the code that ships run in a simulator. An atomic counter that a transport adds
// to is data like any other, so sync/atomic is allowed. The simulator beside it draws random numbers from a seed.
func impure(file source) []string {
	if file.test || file.pkg != "gocore/coherence" {
		return nil
	}
	var found []string
	for _, imported := range file.imports {
		for _, forbidden := range []string{
			"context", "crypto/rand", "io", "log", "math/rand", "net", "os", "runtime", "sync", "syscall", "time", "unsafe",
		} {
			if imported != "sync/atomic" && (imported == forbidden || strings.HasPrefix(imported, forbidden+"/")) {
				found = append(found, fmt.Sprintf("%s: the pure core must not import %s", file.name, imported))
			}
		}
	}
	ast.Inspect(file.tree, func(node ast.Node) bool {
		switch node.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
			found = append(found, fmt.Sprintf("%s: the pure core has no goroutines and no channels", file.at(node)))
		}
		return true
	})
	return found
}

func TestRulesHold(t *testing.T) {
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "_"), func(t *testing.T) {
			for _, file := range sources(t) {
				require.Empty(t, r.check(file))
			}
		})
	}
}

// Each rule must find a breach of it and let the permitted twin pass; else it would hold for the wrong reason.
func TestRulesFindBreaches(t *testing.T) {
	long := strings.Repeat("// line\n", maxLines)
	for _, c := range []struct {
		check      func(source) []string
		name, text string
		problems   int
	}{
		{usesC, "gocore/engine/x.go", `package engine; import "C"`, 1},
		{usesC, "gocore/memory/x.go", `package memory; import "C"`, 1},
		{usesC, "gocore/mem/x.go", `package mem; import "C"`, 0},
		{usesC, "verbs/sim/x.go", `package sim; import "C"`, 0},
		{usesSignals, "capi/x.go", `package capi; import "os/signal"`, 1},
		{usesTestLibraries, "gocore/gate/x.go", `package gate; import "github.com/stretchr/testify/require"`, 1},
		{usesTestLibraries, "gocore/gate/x_test.go", `package gate; import "github.com/stretchr/testify/require"`, 0},
		{usesTestLibraries, "gocore/transport/conformance/x.go", `package conformance; import "testing"`, 0},
		{tooLong, "gocore/gate/x.go", long + "package gate\n", 1},
		{tooLong, "gocore/gate/x.go", long[:len(long)-len("// line\n")] + "package gate\n", 0},
		{impure, "gocore/coherence/x.go", `package coherence; import ("time"; "os"; "net/netip"; "sync")`, 4},
		{impure, "gocore/coherence/x.go", `package coherence; import ("sort"; "fmt"; "sync/atomic")`, 0},
		{impure, "gocore/coherence/x.go", `package coherence; func f() { go f() }`, 1},
		{impure, "gocore/coherence/x.go", `package coherence; func f(c chan int) { select { case <-c: } }`, 2},
		{impure, "gocore/coherence/x_test.go", `package coherence; import "time"`, 0},
		{impure, "gocore/coherencex/x.go", `package coherencex; import "time"`, 0},
	} {
		file, err := parseText(filepath.ToSlash(c.name), []byte(c.text))
		require.NoError(t, err)
		require.Len(t, c.check(file), c.problems, "%s: %.60s", c.name, c.text)
	}
}
