package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// layers lists our packages from the top down, by their path in the module; one line is one layer. A package imports
// only what stands in a line below its own, so packages of one line do not import each other. A line covers the
// folders below it that have no line of their own.
var layers = [][]string{
	{"tests/chaos/attacker", "tests/gopy/reference", "tests/stock/helper"},
	{"capi/lib", "capi/hostile"},
	{"capi"},
	{"gocore/pyapi"},
	{"gocore/engine"},
	{"gocore/cluster", "gocore/describe", "gocore/metaserver", "gocore/store/open"},
	{"gocore/store/conformance", "gocore/internal/etcdtest"},
	{"gocore/store/etcd", "gocore/store/httpstore", "gocore/store/mem"},
	{"gocore/store/stockhttp"},
	{"gocore/store/httplink"},
	{"gocore/store/httpapi"},
	{"gocore/transport/conformance"},
	{"gocore/transport/tcp", "gocore/transport/local"},
	{"gocore/transport"},
	{"gocore/control"},
	{"gocore/control/controlpb"},
	{"gocore/coherence/sim", "gocore/coherence/sim/storesim"},
	{"gocore/coherence"},
	{"gocore/store"},
	{"gocore/descriptor"},
	{"gocore/gate"},
	{"gocore/config"},
	{"gocore/internal/netfault", "gocore/transport/faulty"},
	{"gocore/netaddr", "gocore/telemetry", "gocore/mem", "gocore/forkfd"},
	{"gocore/internal/invariants", "gocore/internal/lint", "gocore/mem/castagnoli"},
	{"gocore/types", "gocore/errcode"},
}

// testOnly may be imported by tests alone: they have no place in what ships.
var testOnly = []string{
	"capi/hostile", "gocore/transport/conformance", "gocore/transport/faulty", "gocore/coherence/sim",
	"gocore/coherence/sim/storesim",
	"gocore/store/conformance", "gocore/internal/etcdtest", "gocore/internal/netfault",
}

// layerOf returns the line of the package at path, and false for a package that has none.
func layerOf(path string) (int, bool) {
	best, length := 0, -1
	for i, layer := range layers {
		for _, member := range layer {
			if (path == member || strings.HasPrefix(path, member+"/")) && len(member) > length {
				best, length = i, len(member)
			}
		}
	}
	return best, length >= 0
}

// layeringProblem says what is wrong with the package at from importing the one at to, or "".
func layeringProblem(from, to string, test bool) string {
	above, ok := layerOf(from)
	if !ok {
		return fmt.Sprintf("%s has no line in the table of layers: decide what may import it and add it", from)
	}
	below, ok := layerOf(to)
	if !ok {
		return fmt.Sprintf("%s imports %s, which has no line in the table of layers", from, to)
	}
	if !test && slices.Contains(testOnly, to) && !slices.Contains(testOnly, from) {
		return fmt.Sprintf("%s imports %s outside a test", from, to)
	}
	// A test may use what stands beside or above its package to exercise it; Go itself forbids cycles.
	if !test && below <= above {
		return fmt.Sprintf("%s imports %s, which does not stand below it", from, to)
	}
	return ""
}

func TestPackagesImportOnlyWhatStandsBelow(t *testing.T) {
	for _, file := range sources(t) {
		for _, imported := range file.imports {
			path, ours := strings.CutPrefix(imported, modulePath+"/")
			if !ours {
				continue
			}
			problem := layeringProblem(file.pkg, path, file.test)
			require.Empty(t, problem, "%s: layers, from the top: %v", file.name, layers)
		}
	}
}

func TestVocabularyImportsNothingOfOurs(t *testing.T) {
	for _, file := range sources(t) {
		if file.test || (file.pkg != "gocore/types" && file.pkg != "gocore/errcode") {
			continue
		}
		for _, imported := range file.imports {
			require.False(t, strings.HasPrefix(imported, modulePath+"/"), "%s imports %s", file.name, imported)
		}
	}
}

func TestLayeringRuleFindsBreaches(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test     bool
		want     string
	}{
		{"gocore/engine", "gocore/transport/tcp", false, ""},
		{"capi/lib", "capi", false, ""},
		{"gocore/control", "gocore/control/controlpb", false, ""},
		{"gocore/transport/tcp", "gocore/transport/conformance", true, ""},
		{"gocore/transport/tcp", "gocore/transport/conformance", false, "outside a test"},
		{"gocore/internal/etcdtest", "gocore/internal/netfault", false, ""},
		{"gocore/transport", "gocore/transport/tcp", false, "does not stand below"},
		{"gocore/transport/tcp", "gocore/transport/local", false, "does not stand below"},
		{"gocore/coherence", "gocore/engine", false, "does not stand below"},
		{"gocore/netaddr", "gocore/mem", false, "does not stand below"},
		{"gocore/nowhere", "gocore/types", false, "no line"},
		{"gocore/engine", "gocore/nowhere", false, "no line"},
	} {
		problem := layeringProblem(c.from, c.to, c.test)
		if c.want == "" {
			require.Empty(t, problem)
		} else {
			require.Contains(t, problem, c.want)
		}
	}
}
