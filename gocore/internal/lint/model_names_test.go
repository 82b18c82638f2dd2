package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// boundModels are the Spin models whose marked transitions must each be named by the Go code that carries them out. What
// another model marks is compared as well; these must mark something.
var boundModels = []string{"drain", "ghost", "owner", "replace"}

var (
	modelTag  = regexp.MustCompile(`/\* action: ([^*]*?) \*/`)
	goTag     = regexp.MustCompile(`\(model: ([^)]*)\)`)
	oldGoTag  = regexp.MustCompile(`(?i)model action|model tests/`)
	validName = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
)

// modelActions lists the transitions that the text of a model marks, and what is wrong with the marks.
func modelActions(model, text string) (names, problems []string) {
	for _, found := range modelTag.FindAllStringSubmatch(text, -1) {
		name := found[1]
		switch {
		case !validName.MatchString(name) || !strings.HasPrefix(name, model+"."):
			problems = append(problems, fmt.Sprintf("%s.pml: %q is no name of the form %s.word", model, name, model))
		case slices.Contains(names, name):
			problems = append(problems, fmt.Sprintf("%s.pml marks %s twice", model, name))
		default:
			names = append(names, name)
		}
	}
	return names, problems
}

// namedActions lists what the comments of a file name, and what is wrong with them.
func namedActions(file source) (names, problems []string) {
	for _, group := range file.tree.Comments {
		text := strings.Join(strings.Fields(group.Text()), " ")
		if oldGoTag.MatchString(text) {
			problems = append(problems, fmt.Sprintf("%s: write it as (model: drain.word)", file.at(group)))
		}
		for _, found := range goTag.FindAllStringSubmatch(text, -1) {
			for name := range strings.SplitSeq(found[1], ", ") {
				names = append(names, name)
				if !validName.MatchString(name) {
					problems = append(problems, fmt.Sprintf("%s: %q is no name of an action", file.at(group), name))
				}
			}
		}
	}
	return names, problems
}

// disagreements compares both sides. The code of tests and of the simulator may name an action, but carries none out.
func disagreements(marked []string, files []source) []string {
	var problems []string
	carried := map[string]bool{}
	for _, file := range files {
		names, wrong := namedActions(file)
		problems = append(problems, wrong...)
		for _, name := range names {
			if !slices.Contains(marked, name) {
				problems = append(problems, fmt.Sprintf("%s names %s, which no model marks", file.name, name))
			}
			if !file.test && strings.HasPrefix(file.pkg, "gocore/") && !slices.Contains(testOnly, file.pkg) {
				carried[name] = true
			}
		}
	}
	for _, name := range marked {
		if !carried[name] {
			problems = append(problems, fmt.Sprintf("no code names %s: put (model: %s) at the function that carries it out", name, name))
		}
	}
	return problems
}

func TestModelAndCodeNameTheSameActions(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(root, "tests", "model", "*.pml"))
	require.NoError(t, err)
	var marked, models []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		model := strings.TrimSuffix(filepath.Base(path), ".pml")
		names, problems := modelActions(model, string(text))
		require.Empty(t, problems)
		if len(names) > 0 {
			models = append(models, model)
		}
		marked = append(marked, names...)
	}
	require.Subset(t, models, boundModels, "models below tests/model that mark actions")
	require.Empty(t, disagreements(marked, sources(t)))
}

func TestModelNamesRuleFindsBreaches(t *testing.T) {
	parsed := func(name, text string) source {
		file, err := parseText(name, []byte(text))
		require.NoError(t, err)
		return file
	}
	code := "package x\n\n// F is the end (model: drain.ok,\n// ghost.retry).\nfunc F() {}\n"
	for _, c := range []struct {
		what     string
		marked   []string
		file     source
		problems []string
	}{
		{"equal", []string{"drain.ok", "ghost.retry"}, parsed("gocore/x/x.go", code), nil},
		{"renamed in the model", []string{"drain.done", "ghost.retry"}, parsed("gocore/x/x.go", code),
			[]string{"names drain.ok, which no model marks", "no code names drain.done"}},
		{"renamed in the code", []string{"drain.ok", "ghost.retry"},
			parsed("gocore/x/x.go", strings.Replace(code, "drain.ok", "drain.done", 1)),
			[]string{"names drain.done, which no model marks", "no code names drain.ok"}},
		{"named by a test only", []string{"drain.ok", "ghost.retry"}, parsed("gocore/x/x_test.go", code),
			[]string{"no code names drain.ok", "no code names ghost.retry"}},
		{"named by the simulator only", []string{"drain.ok", "ghost.retry"}, parsed("gocore/coherence/sim/x.go", code),
			[]string{"no code names drain.ok", "no code names ghost.retry"}},
		{"another form", nil, parsed("gocore/x/x.go", "package x\n\n// F is the end. (Model action: drain/ok.)\nfunc F() {}\n"),
			[]string{"write it as"}},
		{"no name", nil, parsed("gocore/x/x.go", "package x\n\n// F is the end (model: drain/ok).\nfunc F() {}\n"),
			[]string{"is no name of an action", "names drain/ok, which no model marks"}},
	} {
		found := disagreements(c.marked, []source{c.file})
		require.Len(t, found, len(c.problems), "%s: %v", c.what, found)
		for i, want := range c.problems {
			require.Contains(t, found[i], want, c.what)
		}
	}

	names, problems := modelActions("drain", "x /* action: drain.ok */ /* action: drain.fence */\n")
	require.Equal(t, []string{"drain.ok", "drain.fence"}, names)
	require.Empty(t, problems)
	_, problems = modelActions("drain", "/* action: drain.ok */ /* action: drain.ok */ /* action: ghost.ok */")
	require.Len(t, problems, 2)
}
